// Beam search of one utterance with constrained decoding and CTC prefix scores, as
// atat/inference/beam_search.py, whose hypotheses these are.

const CTC_FLOOR = -1000; // unlikely, not impossible: CTC has no path for more labels than frames

/**
 * The n best hypotheses, best first.
 * @param {object} decoder with start() -> state, async step(tokens, state) -> {logProbs, state}, where
 *     logProbs is a Float32Array (K, V), and select(parents, state) -> state.
 * @param {object} options
 * @param {number} options.firstToken the task token.
 * @param {number} options.eos id of the end of sequence.
 * @param {number} options.beam K, 1 is greedy search.
 * @param {number} options.nbest finished hypotheses to keep.
 * @param {number} options.maxLength most tokens of a hypothesis.
 * @param {Iterable<number>} options.banned ids that no hypothesis has.
 * @param {object|null} options.acceptor of constrained decoding (constraints.js).
 * @param {object|null} options.ctc prefix scorer (ctc.js); null: the decoder alone.
 * @param {number} options.ctcWeight w of (1 - w) decoder + w CTC.
 * @param {number} options.lengthBonus added for every token, in nats.
 * @returns {Promise<Array<{tokens: number[], score: number}>>}
 */
export async function search(decoder, options) {
  const { eos, beam, nbest, maxLength, lengthBonus } = options;
  let finished = [];
  let state = decoder.start();
  let hyps = [
    {
      tokens: [],
      last: options.firstToken,
      decoder: 0,
      ctc: options.ctc?.start() ?? null,
      accept: options.acceptor?.start ?? null,
    },
  ];
  for (let length = 0; length <= maxLength; length++) {
    const step = await decoder.step(hyps.map((h) => h.last), state);
    const size = step.logProbs.length / hyps.length;
    const rows = hyps.map((h, k) => scores(h, step.logProbs.subarray(k * size, (k + 1) * size), length, options));
    // Each hypothesis ends in one way, so that of twice as many at least `beam` go on.
    const best = highest(rows.map((row) => row.joint), 2 * beam);
    const ended = best.slice(0, beam).filter(({ token }) => token === eos);
    finished = finished
      .concat(ended.map(({ parent, score }) => ({ tokens: hyps[parent].tokens, score })))
      .sort((a, b) => b.score - a.score) // stable: on equal scores the earlier one stays ahead
      .slice(0, nbest);
    const running = best.filter(({ token }) => token !== eos).slice(0, beam);
    // Every further token and the end can only lower a score, except for the bonus.
    const ahead = Math.max(lengthBonus, 0) * (maxLength - length - 1);
    const worst = finished.length < nbest ? -Infinity : finished.at(-1).score;
    if (length === maxLength || running.length === 0 || running[0].score + ahead <= worst) break;
    state = decoder.select(running.map(({ parent }) => parent), step.state);
    hyps = running.map(({ parent, token }) => ({
      tokens: [...hyps[parent].tokens, token],
      last: token,
      decoder: rows[parent].decoder[token],
      ctc: options.ctc?.advance(hyps[parent].ctc, token) ?? null,
      accept: options.acceptor?.advance(hyps[parent].accept, token) ?? null,
    }));
  }
  return finished;
}

/** What a hypothesis is worth after each next token, (V,) each: by the decoder, and joint. */
function scores(hyp, logProbs, length, { eos, maxLength, banned, acceptor, ctc, ctcWeight, lengthBonus }) {
  const decoder = logProbs.map((x) => hyp.decoder + x);
  if (decoder.some(Number.isNaN)) {
    throw new Error("the decoder gave NaN: its weights or its input hold NaN");
  }
  let joint = decoder.slice();
  if (ctc) {
    joint = ctc.score(hyp.ctc).map((x, token) => {
      if (decoder[token] === -Infinity) return -Infinity;
      const both = ctcWeight * Math.max(x, CTC_FLOOR);
      return ctcWeight < 1 ? both + (1 - ctcWeight) * decoder[token] : both;
    });
  }
  if (lengthBonus) joint = joint.map((x, token) => x + lengthBonus * (token === eos ? length : length + 1));
  for (const token of banned) joint[token] = -Infinity;
  const allowed = acceptor?.allowed(hyp.accept, maxLength - length);
  for (let token = 0; token < joint.length; token++) {
    const isLate = length === maxLength && token !== eos;
    if (isLate || (allowed && !allowed[token])) joint[token] = -Infinity;
  }
  return { decoder, joint };
}

/** The highest of all rows, best first, on equal scores the first; -Infinity is none. */
function highest(rows, num) {
  const best = [];
  rows.forEach((row, parent) => {
    row.forEach((score, token) => {
      if (score === -Infinity || (best.length === num && score <= best.at(-1).score)) return;
      let place = best.length;
      while (place > 0 && best[place - 1].score < score) place--;
      best.splice(place, 0, { parent, token, score });
      if (best.length > num) best.pop();
    });
  });
  return best;
}
