// CTC prefix scores of one utterance, as atat/inference/ctc_prefix_score.py: the probability that CTC
// gives to all label sequences that begin with a prefix (Graves 2008, section 7.4; Watanabe et al.
// 2017, "Hybrid CTC/attention architecture for end-to-end speech recognition", algorithm 2).
//
// T frames, V symbols, S = T + 1: entry s is "after s frames". Scores are natural logarithms.

const IMPOSSIBLE = -1e30; // for -Infinity, whose differences would be NaN
const HARDLY_POSSIBLE = IMPOSSIBLE / 2;

export class CtcPrefixScorer {
  /**
   * @param {Float32Array} logProbs (T, V) log-softmax outputs of real frames.
   * @param {number} numSymbols V.
   * @param {{blank: number, eos: number, silent: Iterable<number>}} ids of CTC's blank, of the end of a
   *     sequence, scored as "nothing follows", and those that CTC does not emit (tags).
   */
  constructor(logProbs, numSymbols, { blank, eos, silent }) {
    this.numSymbols = numSymbols;
    this.numFrames = logProbs.length / numSymbols;
    this.logProbs = logProbs.map((x) => Math.max(x, IMPOSSIBLE));
    this.probs = logProbs.map(Math.exp); // float32, where what is below e^-103 is nothing
    [this.blank, this.eos, this.silent] = [blank, eos, new Set(silent)];
  }

  /** The empty prefix. */
  start() {
    const blanks = new Float64Array(this.numFrames + 1);
    for (let t = 0; t < this.numFrames; t++) blanks[t + 1] = blanks[t] + this.#label(this.blank, t);
    const nonblank = new Float64Array(this.numFrames + 1).fill(IMPOSSIBLE);
    return { nonblank, blank: blanks, last: this.blank, prefix: 0 };
  }

  /**
   * Score of a prefix after each next token.
   * @returns {Float32Array} (V,): of all label sequences that begin with prefix + token; for `eos` of
   *     the prefix alone; for a silent token its own; -Infinity where it is impossible.
   */
  score(state) {
    const paths = state.nonblank.map((x, s) => logAddExp(x, state.blank[s]));
    const peak = paths.subarray(0, -1).reduce((most, x) => Math.max(most, x), -Infinity);
    const scores = new Float32Array(this.numSymbols);
    for (let t = 0; t < this.numFrames; t++) {
      const share = Math.fround(Math.exp(paths[t] - peak));
      if (share === 0) continue;
      const row = t * this.numSymbols;
      for (let v = 0; v < this.numSymbols; v++) scores[v] += Math.fround(share * this.probs[row + v]);
    }
    for (let v = 0; v < this.numSymbols; v++) scores[v] = Math.log(scores[v]) + peak;
    // A label repeated at once must have a blank between.
    scores[state.last] = logSumExp(state.blank.subarray(0, -1).map((x, t) => x + this.#label(state.last, t)));
    scores[this.eos] = paths[this.numFrames];
    for (const token of this.silent) scores[token] = state.prefix;
    return scores.map((x) => (x < HARDLY_POSSIBLE ? -Infinity : x));
  }

  /** The state after one token more. */
  advance(state, token) {
    if (this.silent.has(token)) return state;
    const nonblank = new Float64Array(this.numFrames + 1).fill(IMPOSSIBLE);
    const blank = nonblank.slice();
    const ends = new Float64Array(this.numFrames);
    for (let t = 0; t < this.numFrames; t++) {
      const isRepeat = token === state.last;
      const enter = isRepeat ? state.blank[t] : logAddExp(state.nonblank[t], state.blank[t]);
      const label = this.#label(token, t);
      ends[t] = enter + label;
      nonblank[t + 1] = Math.max(logAddExp(nonblank[t], enter) + label, IMPOSSIBLE);
      blank[t + 1] = Math.max(logAddExp(blank[t], nonblank[t]) + this.#label(this.blank, t), IMPOSSIBLE);
    }
    return { nonblank, blank, last: token, prefix: logSumExp(ends) };
  }

  /** Log-probability of a whole label sequence. */
  logLikelihood(labels) {
    const state = labels.reduce((before, token) => this.advance(before, token), this.start());
    const whole = logAddExp(state.nonblank[this.numFrames], state.blank[this.numFrames]);
    return whole < HARDLY_POSSIBLE ? -Infinity : whole;
  }

  /** The most probable symbol of each frame, and the log-probability of them all. */
  bestPath() {
    const path = new Int32Array(this.numFrames);
    let score = 0;
    for (let t = 0; t < this.numFrames; t++) {
      const row = this.logProbs.subarray(t * this.numSymbols, (t + 1) * this.numSymbols);
      for (let v = 1; v < this.numSymbols; v++) if (row[v] > row[path[t]]) path[t] = v;
      score += row[path[t]];
    }
    return { path, score };
  }

  #label(token, t) {
    return this.logProbs[t * this.numSymbols + token];
  }
}

function logAddExp(x, y) {
  return Math.max(x, y) + Math.log1p(Math.exp(-Math.abs(x - y)));
}

function logSumExp(values) {
  const peak = values.reduce((most, x) => Math.max(most, x), -Infinity);
  return peak + Math.log(values.reduce((sum, x) => sum + Math.exp(x - peak), 0));
}
