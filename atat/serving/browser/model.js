// A trained model in the browser: samples or text in, a result as Python's Result.to_dict() out.

import { NoSpeech } from "./active-range.js";
import { FREE_ROOM, NBEST, ctcCost, judge, measure } from "./confidence.js";
import { acceptorOf } from "./constraints.js";
import { CtcPrefixScorer } from "./ctc.js";
import { extract } from "./features.js";
import { Network } from "./network.js";
import { nothing, read, resultOf } from "./result.js";
import { search } from "./search.js";
import { Tokenizer } from "./tokenizer.js";
import { TypedText, normalize } from "./typed-text.js";

const RIVALS = 4; // hypotheses looked for, to find one of another meaning
const MAX_TEXT_TOKENS = 512; // as length_batches.py has it
const FOR_SPEECH = ["speech.onnx", "memory.onnx", "step.onnx", "vad.onnx"];

export class Model {
  /**
   * @param {object} about content of model.json, as atat/serving/static_site.py writes it.
   * @param {Network} network
   */
  constructor(about, network) {
    [this.about, this.network] = [about, network];
    this.tokenizer = new Tokenizer(about.vocabulary);
    this.typed = about.grammar && new TypedText(about.grammar);
    this.acceptors = new Map();
  }

  /**
   * Read a model that atat.web has written.
   * @param {object} ort onnxruntime-web.
   * @param {string} directory its address, with a slash at the end.
   * @param {(loaded: number, all: number) => void} onProgress gets bytes.
   */
  static async load(ort, directory, onProgress) {
    const about = await (await fetched(new URL("model.json", directory))).json();
    const all = FOR_SPEECH.reduce((sum, name) => sum + about.files[name], 0);
    let loaded = 0;
    const count = (bytes) => onProgress((loaded += bytes), all);
    const fetchFile = async (name) => {
      return bytesOf(await fetched(new URL(name, directory)), FOR_SPEECH.includes(name) ? count : () => {});
    };
    const network = new Network(ort, fetchFile, about.network);
    await Promise.all(FOR_SPEECH.map((name) => network.load(name)));
    return new Model(about, network);
  }

  /**
   * Understand one recording.
   * @param {Float32Array} samples within [-1, 1], mono, at the features' rate.
   * @param {number} nbest readings wanted.
   */
  async understand(samples, nbest = 1) {
    const start = performance.now();
    const { features, options, confidence } = this.about;
    const durationS = samples.length / features.sample_rate_hz;
    const time = () => ({ duration_s: durationS, seconds: secondsSince(start) });
    if (durationS > features.max_duration_s) {
      throw new RangeError(`${durationS.toFixed(1)} s long, expected at most ${features.max_duration_s} s`);
    }
    let feats;
    try {
      feats = extract(samples, features);
    } catch (error) {
      if (!(error instanceof NoSpeech)) throw error;
      const refused = confidence && { confidence: 0, accepted: false };
      return { ...nothing(error.message), ...time(), ...refused };
    }
    const encoded = await this.network.encodeSpeech(feats);
    const { readings, judged } = await this.#examine(encoded, options, nbest);
    if (readings.length === 0) {
      const { doubt, ...refused } = judged;
      return { ...nothing(this.#nothingFits(options)), ...time(), ...refused };
    }
    return resultOf(readings, nbest, this.about.written, { ...time(), ...judged });
  }

  /** Understand a typed sentence: the grammar's exactly; the model reads others, and where there is a
   * grammar, they are refused. */
  async understandText(text, nbest = 1) {
    const start = performance.now();
    const sentence = normalize(text);
    if (!sentence) throw new Error("The text has no words.");
    const { written, text_options: options } = this.about;
    const parsed = (this.typed?.readings(sentence) ?? []).map((semantics) => read(semantics, null));
    const time = () => ({ seconds: secondsSince(start) });
    if (parsed.length) return resultOf(parsed, nbest, written, { ...time(), confidence: 1, accepted: true });
    const ids = this.tokenizer.encode(sentence);
    if (ids.length > MAX_TEXT_TOKENS) throw new Error("The text is too long.");
    const unknown =
      this.typed?.unknown(sentence) ??
      sentence.split(" ").filter((word) => this.tokenizer.encodeWord(word).includes(this.tokenizer.unk));
    const refused = this.typed && { doubt: this.typed.whyNot(sentence), confidence: 0, accepted: false };
    if (!this.about.files["text.onnx"]) {
      return { ...nothing(refused?.doubt ?? "this model takes no typed text"), ...time(), unknown };
    }
    const encoded = await this.network.encodeText(ids);
    const { readings } = await this.#search(encoded, withRivals(options, nbest), null);
    if (readings.length === 0) return { ...nothing(this.#nothingFits(options)), ...time(), unknown };
    return resultOf(readings, nbest, written, { ...time(), unknown, ...refused });
  }

  /** The words that CTC's most probable symbols spell: what is understood while one speaks. */
  async wordsSoFar(samples) {
    if (!this.about.network.has_ctc) return "";
    let feats;
    try {
      feats = extract(samples, this.about.features);
    } catch {
      return ""; // too short, or silent, as yet
    }
    const { path } = this.#scorer(await this.network.encodeSpeech(feats)).bestPath();
    const { blank, pad, unk, eos, tags } = this.about.vocabulary;
    const leftOut = new Set([blank, pad, unk, eos, ...tags]);
    return this.tokenizer.decode(path.filter((id, t) => id !== path[t - 1] && !leftOut.has(id)));
  }

  /** The readings of an utterance, best first, and what confidence says of the best. */
  async #examine(encoded, options, nbest) {
    const decoder = await this.network.decoder(encoded);
    const { confidence } = this.about;
    const shown = async () => (await this.#search(encoded, withRivals(options, nbest), decoder)).readings;
    if (!confidence) return { readings: await shown(), judged: {} };
    // Of the search that it was fitted for, however many are shown.
    const found = await this.#search(encoded, { ...options, nbest: NBEST }, decoder);
    const judged = judge(confidence, found.readings, await this.#measure(encoded, options, decoder, found));
    return { readings: nbest > 1 ? bestFirst(found.readings, await shown()) : found.readings, judged };
  }

  /** Measures of the best hypothesis (confidence.js); null without one. */
  async #measure(encoded, options, decoder, { hypotheses, readings }) {
    if (hypotheses.length === 0) return null;
    const [best] = hypotheses;
    let freeScore = best.score;
    if (options.constraint !== "none") {
      const room = { max_length: Math.min(options.max_length, best.tokens.length + FREE_ROOM) };
      const greedy = { ...options, ...room, constraint: "none", beam: 1, nbest: 1 };
      const free = await this.#search(encoded, greedy, decoder);
      freeScore = free.hypotheses[0]?.score ?? best.score;
    }
    const labels = best.tokens.filter((token) => !this.tokenizer.tags.has(token));
    const cost = encoded.ctc ? ctcCost(this.#scorer(encoded), labels) : 0;
    return measure(readings, best.tokens.length + 1, freeScore, cost);
  }

  async #search(encoded, options, decoder) {
    const { eos, blank, pad, unk, tasks } = this.about.vocabulary;
    const hypotheses = await search(decoder ?? (await this.network.decoder(encoded)), {
      firstToken: tasks[options.task],
      eos,
      beam: options.beam,
      nbest: options.nbest,
      maxLength: options.max_length,
      banned: [blank, pad, unk, ...Object.values(tasks)],
      acceptor: this.#acceptor(options.constraint),
      ctc: options.ctc_weight > 0 ? this.#scorer(encoded) : null,
      ctcWeight: options.ctc_weight,
      lengthBonus: options.length_bonus,
    });
    const readings = hypotheses.map(({ tokens, score }) => read(this.tokenizer.decode(tokens), score));
    return { hypotheses, readings };
  }

  #scorer(encoded) {
    const { symbols, blank, eos, tags } = this.about.vocabulary;
    return new CtcPrefixScorer(encoded.ctc, symbols.length, { blank, eos, silent: tags });
  }

  #acceptor(constraint) {
    if (!this.acceptors.has(constraint)) this.acceptors.set(constraint, acceptorOf(this.about, constraint));
    return this.acceptors.get(constraint);
  }

  #nothingFits({ constraint, max_length: longest }) {
    return (
      `found nothing that the constraint '${constraint}' accepts and that has at most ${longest} ` +
      "tokens (decode.max_length)"
    );
  }
}

/** The readings of two searches: the best of the one that is judged, and all others by their score. */
function bestFirst([best, ...judged], more) {
  if (best === undefined) return more;
  return [best, ...[...judged, ...more].sort((a, b) => b.score - a.score)];
}

/** Options with more hypotheses kept than are shown, since some may mean the same. */
function withRivals(options, nbest) {
  if (nbest === 1) return { ...options, nbest };
  return { ...options, nbest: RIVALS * nbest, beam: Math.max(options.beam, RIVALS * nbest) };
}

async function fetched(url) {
  const response = await fetch(url);
  if (!response.ok) throw new Error(`${url.pathname}: the server answered ${response.status}.`);
  return response;
}

/** The body of a response; `onBytes` gets how many have come each time. */
async function bytesOf(response, onBytes) {
  const parts = [];
  for (const reader = response.body.getReader(); ; ) {
    const { done, value } = await reader.read();
    if (done) break;
    parts.push(value);
    onBytes(value.length);
  }
  return new Uint8Array(await new Blob(parts).arrayBuffer());
}

function secondsSince(start) {
  return Math.round((performance.now() - start) * 10) / 1e4;
}
