// Typed text: its words, and the grammar's sentences parsed exactly. How else a sentence may be typed
// (digits, hesitations, contractions) only Python knows: atat/inference/typed_text.py.

const MAX_READINGS = 100;

/** The words of a text, as normalize of atat/semantics/text_normalization.py has most of them. */
export function normalize(text) {
  return text
    .normalize("NFKC")
    .toLowerCase()
    .replaceAll(/[\u2018\u2019\u02bc\u00b4`]/g, "'")
    .replaceAll(/[^\p{L}\p{N}\p{M}'-]+/gu, " ")
    .split(" ")
    .map((word) => word.replaceAll(/^['-]+|['-]+$/g, ""))
    .filter(Boolean)
    .join(" ");
}

export class TypedText {
  #arcs;
  #final;
  #start;
  #words;

  /**
   * @param {object} grammar an automaton of the target sequences: start, final by state, and arcs by
   *     state, [word or tag, target] each; and `others`, words that are known beside its own.
   */
  constructor({ start, final, arcs, others }) {
    [this.#arcs, this.#final, this.#start] = [arcs, final, start];
    this.#words = new Set([...others, ...arcs.flat().map(([symbol]) => symbol)]);
  }

  /** The target sequences that have the words of a sentence; none for what the grammar cannot say. */
  readings(sentence) {
    const words = sentence.split(" ");
    const found = [];
    const dead = new Set(); // states and places from which no parse ends
    const walk = (state, place, tokens) => {
      if (dead.has(`${state} ${place}`) || found.length === MAX_READINGS) return;
      const before = found.length;
      if (place === words.length && this.#final[state]) found.push(tokens.join(" "));
      for (const [symbol, target] of this.#arcs[state]) {
        if (isTag(symbol)) walk(target, place, [...tokens, symbol]);
        else if (symbol === words[place]) walk(target, place + 1, [...tokens, symbol]);
      }
      if (found.length === before) dead.add(`${state} ${place}`);
    };
    walk(this.#start, 0, []);
    return found;
  }

  /** The words that are in no sentence of the grammar. */
  unknown(sentence) {
    return [...new Set(sentence.split(" "))].filter((word) => !this.#words.has(word));
  }

  /** Why a sentence is refused. */
  whyNot(sentence) {
    const unknown = this.unknown(sentence);
    if (unknown.length === 0) return "not a sentence of the grammar";
    const words = unknown.map((word) => `'${word}'`).join(", ");
    return `the grammar has no word${unknown.length > 1 ? "s" : ""} ${words}`;
  }
}

function isTag(symbol) {
  return symbol.length > 1 && (symbol.endsWith("(") || symbol.startsWith(")"));
}
