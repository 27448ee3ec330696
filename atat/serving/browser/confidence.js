// Confidence: the probability that intent and slots are all right, as atat/inference/confidence.py.

import { meaning } from "./result.js";

export const NBEST = 4; // hypotheses among which a rival is looked for
export const FREE_ROOM = 4; // tokens that the unconstrained search may take more
const MAX_MARGIN = 10; // nats; of a best reading without a rival, too
const SMALL_COST = 0.01; // costs spread over orders of magnitude, and what is right has hardly any
const MAX_Z = 4; // how far from its mean a measure can pull, in deviations
const CTC_FLOOR = -1000;

/**
 * Measures of the best reading, the features of the regression; logarithms are natural.
 * @param {object[]} readings best first.
 * @param {number} numTokens of the best, the end counted.
 * @param {number} freeScore of the best without a constraint.
 * @param {number} ctcCost as of `ctcCost`.
 */
export function measure(readings, numTokens, freeScore, ctcCost) {
  const { score } = readings[0];
  return {
    cost: logCost(-score / numTokens),
    margin: margin(readings, meaning),
    // A greedy search may miss the best that there is.
    constraint_cost: logCost((freeScore - score) / numTokens),
    ctc_cost: logCost(ctcCost),
  };
}

/** Log-probability of CTC's best path over that of the labels, a label and the end. */
export function ctcCost(ctc, labels) {
  const likelihood = Math.max(ctc.logLikelihood(labels), CTC_FLOOR);
  return Math.max(ctc.bestPath().score - likelihood, 0) / (labels.length + 1);
}

/**
 * What a fitted confidence says: `confidence`, `accepted`, `slot_confidence`, and `doubt`, why the
 * reading is not accepted.
 * @param {object} fitted names, mean, scale, weights, bias, threshold.
 * @param {object[]} readings best first.
 * @param {object|null} measures of the best; null without one.
 */
export function judge(fitted, readings, measures) {
  const probability = measures ? probabilityOf(fitted, measures) : 0;
  const accepted = probability >= fitted.threshold;
  const slots = Object.keys(readings[0]?.slots ?? {}).map((name) => {
    const rival = margin(readings, ({ slots }) => JSON.stringify(slots[name]));
    // Where all is right, so is each slot.
    return [name, round(Math.max(probabilityOf(fitted, { ...measures, margin: rival }), probability))];
  });
  return {
    confidence: round(probability),
    accepted,
    doubt: accepted
      ? null
      : `confidence ${probability.toFixed(3)}, expected ${fitted.threshold.toFixed(3)} or more`,
    slot_confidence: Object.fromEntries(slots),
  };
}

/** A logistic regression over standardised measures. */
function probabilityOf({ names, mean, scale, weights, bias }, measures) {
  const logit = names.reduce((sum, name, i) => {
    const z = (measures[name] - mean[i]) / scale[i];
    return sum + weights[i] * Math.min(Math.max(z, -MAX_Z), MAX_Z);
  }, bias);
  return 0.5 * (1 + Math.tanh(logit / 2));
}

/** Score of the first over the first that differs from it in a part, at most MAX_MARGIN. */
function margin(readings, part) {
  const [best, ...others] = readings;
  const rival = others.find((reading) => part(reading) !== part(best));
  return Math.min(best.score - (rival?.score ?? -Infinity), MAX_MARGIN);
}

function logCost(cost) {
  return Math.log(Math.max(cost, 0) + SMALL_COST);
}

function round(share) {
  return Math.round(share * 1e4) / 1e4;
}
