// Token ids and words, as atat/data/tokenizer.py. The ids are, in order: special symbols, task tokens,
// tags, pieces of words.

const WORD_START = "\u2581"; // SentencePiece's mark for the beginning of a word

export class Tokenizer {
  /** @param {object} vocabulary symbols, unk, tags (ids), first_piece. */
  constructor({ symbols, unk, tags, first_piece: firstPiece }) {
    [this.symbols, this.unk, this.firstPiece] = [symbols, unk, firstPiece];
    this.tags = new Set(tags);
    this.pieces = new Map(symbols.slice(firstPiece).map((piece, i) => [piece, firstPiece + i]));
  }

  /** The sequence that ids spell, without task tokens and special symbols but `unk`. */
  decode(ids) {
    const out = [];
    let isWord = false; // the last entry is a word that the next piece may continue
    for (const id of ids) {
      const symbol = this.symbols[id];
      if (this.tags.has(id)) {
        out.push(symbol);
        isWord = false;
      } else if (id === this.unk || id >= this.firstPiece) {
        const piece = symbol.startsWith(WORD_START) ? symbol.slice(1) : symbol;
        if (symbol.startsWith(WORD_START) || !isWord) out.push(piece);
        else out[out.length - 1] += piece;
        isWord = true;
      }
    }
    return out.filter(Boolean).join(" ");
  }

  /** The ids of a text's words. */
  encode(text) {
    return text.split(" ").filter(Boolean).flatMap((word) => this.encodeWord(word));
  }

  /**
   * Byte pair encoding (Sennrich et al. 2016): of all neighbours that make a piece, those that were
   * merged first in training are merged first; SentencePiece numbers its pieces in that order.
   */
  encodeWord(word) {
    const parts = [...(WORD_START + word)];
    for (;;) {
      let [best, place] = [Infinity, -1];
      for (let i = 0; i + 1 < parts.length; i++) {
        const id = this.pieces.get(parts[i] + parts[i + 1]) ?? Infinity;
        if (id < best) [best, place] = [id, i];
      }
      if (place < 0) break;
      parts.splice(place, 2, parts[place] + parts[place + 1]);
    }
    const ids = parts.map((part) => this.pieces.get(part) ?? this.unk);
    return ids.filter((id, i) => id !== this.unk || ids[i - 1] !== this.unk); // unknown letters are one piece
  }
}
