// Constrained decoding, as atat/inference/constraints.py: which tokens may follow a state, and which
// state follows. A state is a value of the acceptor's own; null is after a token that was not allowed.

/**
 * The acceptor that a model's options name.
 * @param {object} about of the model: options, vocabulary, nesting, acceptor.
 * @param {string} constraint none, well_formed or grammar.
 * @returns {Table|WellFormed|null} null: none.
 */
export function acceptorOf(about, constraint) {
  if (constraint === "none") return null;
  if (constraint === "grammar") return new Table(about.acceptor, about.vocabulary);
  return new WellFormed(about.vocabulary, about.nesting);
}

/** A finite automaton as arcs sorted by state. */
export class Table {
  /**
   * @param {object} arrays start, and int32 in base64: `first` (S + 1,) arc of each state, `token`,
   *     `target` and `needed` of each arc (how many tokens more an end needs after it), `final` (S,).
   * @param {object} vocabulary symbols, eos.
   */
  constructor({ start, ...arrays }, { symbols, eos }) {
    [this.start, this.eos, this.size] = [start, eos, symbols.length];
    for (const [name, text] of Object.entries(arrays)) this[name] = int32(text);
  }

  /** Which tokens may follow, (V,) of 0 and 1; `room`: how many more there can be, the end not counted. */
  allowed(state, room) {
    const allowed = new Uint8Array(this.size);
    for (let arc = this.first[state]; arc < this.first[state + 1]; arc++) {
      if (this.needed[arc] < room) allowed[this.token[arc]] = 1;
    }
    allowed[this.eos] = this.final[state];
    return allowed;
  }

  advance(state, token) {
    const arcs = this.token.subarray(this.first[state], this.first[state + 1]);
    const arc = arcs.indexOf(token);
    return arc < 0 ? null : this.target[this.first[state] + arc];
  }
}

/** Every target sequence with one root and matching tags that stand where they may, whatever the words.
 * A state is the open labels, the innermost last; END after the root. */
export class WellFormed {
  static END = Symbol("end");
  start = [];

  /** @param {object} vocabulary  @param {object|null} nesting label -> labels directly inside it, "" ->
   *     those at the root; null: any anywhere. */
  constructor({ symbols, tags, first_piece: firstPiece, eos }, nesting) {
    [this.eos, this.size, this.firstPiece] = [eos, symbols.length, firstPiece];
    this.opens = new Map(); // token -> label
    this.closes = new Map();
    for (const tag of tags) {
      if (symbols[tag].endsWith("(")) this.opens.set(tag, symbols[tag].slice(0, -1));
      else this.closes.set(tag, symbols[tag].slice(1));
    }
    this.mayStandIn = (label, outer) => nesting === null || (nesting[outer] ?? []).includes(label);
    // As many as Python's state of 64 bits holds, and no more than 8.
    const base = BigInt(this.opens.size + 2);
    this.maxDepth = 8;
    while (base ** BigInt(this.maxDepth) >= 2n ** 63n) this.maxDepth--;
  }

  allowed(state, room) {
    const allowed = new Uint8Array(this.size);
    if (state === WellFormed.END) {
      allowed[this.eos] = 1;
      return allowed;
    }
    const depth = state.length;
    const inside = state.at(-1) ?? "";
    // Each open tag has to be closed, one that is opened now too.
    if (depth > 0 && depth < room) allowed.fill(1, this.firstPiece);
    for (const [token, label] of this.closes) if (label === inside && depth - 1 < room) allowed[token] = 1;
    if (depth + 1 < room && depth < this.maxDepth) {
      for (const [token, label] of this.opens) if (this.mayStandIn(label, inside)) allowed[token] = 1;
    }
    return allowed;
  }

  advance(state, token) {
    if (!this.allowed(state, Infinity)[token] || token === this.eos) return null;
    if (this.opens.has(token)) return [...state, this.opens.get(token)];
    if (!this.closes.has(token)) return state;
    return state.length === 1 ? WellFormed.END : state.slice(0, -1);
  }
}

/** Little-endian, as every machine with a browser is. */
function int32(base64) {
  return new Int32Array(Uint8Array.from(atob(base64), (c) => c.charCodeAt(0)).buffer);
}
