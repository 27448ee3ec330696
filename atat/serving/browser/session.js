// Understanding of a stream of audio: pieces in, events out, as atat/serving/session.py. The network of
// voice activity is silero-vad's (MIT), https://github.com/snakers4/silero-vad.

import { Resampler, joined } from "./resampler.js";
import { nothing } from "./result.js";

const RATE = 16000;
const HOP = 512; // samples of a frame: 32 ms, what the network was trained on
const FRAME_S = HOP / RATE;
const CONTEXT = 64; // samples before a frame that the network reads too
const SPEECH = 0.5; // probability above which is speech ...
const STILL_SPEECH = 0.35; // ... and once it has begun, down to this
const ONSET_FRAMES = 3; // in a row that begin speech: a click is shorter
const PAUSE_FRAMES = Math.round(0.6 / FRAME_S); // after which speech has ended
const PRE_ROLL = 0.5 * RATE; // before speech: what the detector misses of its beginning
const ALIGNMENT = 160; // an utterance begins where a whole recording has a feature frame
const WORDS_EVERY = 0.3 * RATE; // partial words, at most so often ...
const WORDS_EVERY_SHARE = 0.25; // ... and so much of the utterance apart: each encodes all of it

/** How probable it is that somebody speaks, frame by frame of one stream. */
class VoiceActivity {
  #network;
  #context = new Float32Array(CONTEXT);
  #state = [new Float32Array(2 * 128), [2, 1, 128]];

  constructor(network) {
    this.#network = network;
  }

  /** @param {Float32Array} frame (HOP,) within [-1, 1].  @returns {Promise<number>} 0 to 1. */
  async probability(frame) {
    const input = joined([this.#context, frame]);
    const inputs = { input: [input, [1, input.length]], state: this.#state, sr: [BigInt64Array.of(BigInt(RATE)), []] };
    const [probability, state] = await this.#network.run("vad.onnx", inputs);
    this.#state = [state.data, state.dims];
    this.#context = input.slice(-CONTEXT);
    return probability.data[0];
  }
}

/** Where speech begins and ends: frames `begin` to `end`, by the probabilities of a stream's frames. */
export class Endpointer {
  inSpeech = false;
  numFrames = 0;
  begin = 0;
  end = 0;
  #inARow = 0;

  /** Take the next frame: "begin" or "end", where that is noticed with it, else null. */
  accept(probability) {
    this.numFrames++;
    if (this.inSpeech) {
      const inPause = this.end < this.numFrames - 1;
      if (probability >= (inPause ? SPEECH : STILL_SPEECH)) {
        this.end = this.numFrames;
      } else if (this.numFrames - this.end >= PAUSE_FRAMES) {
        this.inSpeech = false;
        this.#inARow = 0;
        return "end";
      }
      return null;
    }
    this.#inARow = probability >= SPEECH ? this.#inARow + 1 : 0;
    if (this.#inARow < ONSET_FRAMES) return null;
    this.inSpeech = true;
    this.begin = this.numFrames - ONSET_FRAMES;
    this.end = this.numFrames;
    return "begin";
  }
}

/** One stream of audio; the events are those of Python's session. */
export class Session {
  #model;
  #options;
  #activity;
  #endpointer = new Endpointer();
  #resampler;
  #rest = new Float32Array(0); // less than a frame
  #frames = []; // of an utterance from where it starts, else what may come before one
  #firstKept = 0; // frame of the stream that they begin with
  #start = null; // sample of the stream where the utterance starts
  #words = "";
  #wordsAt = 0;
  #nextWords = 0;

  /**
   * @param {Model} model
   * @param {{rate: number, nbest: number, isBusy: () => boolean}} options samples a second, readings
   *     wanted, and whether pieces wait: then there are no partial words.
   */
  constructor(model, { rate, nbest, isBusy = () => false }) {
    [this.#model, this.#options] = [model, { nbest, isBusy }];
    this.#activity = new VoiceActivity(model.network);
    this.#resampler = new Resampler(rate, RATE);
  }

  /** Take the next piece.  @param {Int16Array} samples mono.  @returns {Promise<object[]>} events. */
  async accept(samples) {
    return this.#accept(this.#resampler.accept(Float32Array.from(samples, (x) => x / 32768)));
  }

  /** The stream has ended: what is still open is understood. */
  async finish() {
    const events = await this.#accept(this.#resampler.finish());
    if (this.#rest.length) events.push(...(await this.#frame(this.#rest)));
    if (this.#start !== null) events.push(await this.#understood());
    return events;
  }

  async #accept(samples) {
    const all = joined([this.#rest, samples]);
    const whole = all.length - (all.length % HOP);
    const events = [];
    for (let start = 0; start < whole; start += HOP) events.push(...(await this.#frame(all.slice(start, start + HOP))));
    this.#rest = all.slice(whole);
    return events;
  }

  async #frame(frame) {
    this.#frames.push(frame);
    const padded = new Float32Array(HOP);
    padded.set(frame);
    const noticed = this.#endpointer.accept(await this.#activity.probability(padded));
    const { begin, end, numFrames } = this.#endpointer;
    const position = numFrames * HOP - HOP + frame.length;
    if (noticed === "begin") {
      const first = Math.max(begin * HOP - PRE_ROLL, this.#firstKept * HOP);
      this.#start = Math.ceil(first / ALIGNMENT) * ALIGNMENT;
      [this.#words, this.#wordsAt] = ["", 0];
      this.#nextWords = begin * HOP + WORDS_EVERY;
      return [{ kind: "speech", time_s: (begin * HOP) / RATE }];
    }
    if (this.#start === null) {
      this.#forget(noticed === "end" ? end : 0);
      return [];
    }
    if (noticed === "end") {
      const event = await this.#understood();
      this.#forget(end);
      return [event];
    }
    if (end * HOP - this.#start > this.#longest) {
      this.#start = null; // until the next pause
      return [{ kind: "too_long", time_s: position / RATE }];
    }
    return this.#partialWords(position);
  }

  get #longest() {
    return this.#model.about.features.max_duration_s * RATE;
  }

  /** Drop frames that no utterance can need any more: those before one, and old ones. */
  #forget(before) {
    const surplus = Math.max(this.#frames.length - Math.floor(PRE_ROLL / HOP) - 8, before - this.#firstKept);
    const num = Math.max(Math.min(surplus, this.#frames.length - 1), 0);
    this.#frames.splice(0, num);
    this.#firstKept += num;
  }

  /** Samples of the utterance so far; of the pause what the limit leaves. */
  #utterance() {
    const skipped = this.#start - this.#firstKept * HOP;
    return joined(this.#frames).slice(skipped, skipped + this.#longest);
  }

  async #understood() {
    const samples = this.#utterance();
    this.#start = null;
    const result = await this.#result(samples);
    const position = this.#firstKept * HOP + this.#frames.reduce((sum, frame) => sum + frame.length, 0);
    return { kind: "result", time_s: Math.min(this.#endpointer.end * HOP, position) / RATE, result };
  }

  /** The result of an utterance; of one that the model cannot take, why not. */
  async #result(samples) {
    try {
      return await this.#model.understand(samples, this.#options.nbest);
    } catch (error) {
      if (!(error instanceof RangeError)) throw error;
      return { ...nothing(error.message), error: error.message };
    }
  }

  /** An event, where it is time for one and the words have changed; one in a pause at most. */
  async #partialWords(position) {
    const isKnown = this.#wordsAt > this.#endpointer.end * HOP;
    if (position < this.#nextWords || isKnown || this.#options.isBusy()) return [];
    const share = Math.round(WORDS_EVERY_SHARE * (position - this.#start));
    this.#nextWords = position + Math.max(WORDS_EVERY, share);
    this.#wordsAt = position;
    const words = await this.#model.wordsSoFar(this.#utterance());
    if (!words || words === this.#words) return [];
    this.#words = words;
    return [{ kind: "words", time_s: position / RATE, words }];
  }
}
