// A stream of samples at another rate, by interpolation with a windowed sinc (Smith and Gossett 1984).

const CROSSINGS = 16; // of the sinc with zero, on either side
const PASS = 0.95; // of the lower rate's band stays

export class Resampler {
  #step;
  #cutoff;
  #half;
  #kept = new Float32Array(0);
  #first = 0; // index in the stream of what is kept
  #next = 0; // of the next output

  /** @param {number} from samples a second of what comes.  @param {number} to of what is given. */
  constructor(from, to) {
    this.#step = from / to;
    this.#cutoff = from === to ? 1 : PASS * Math.min(1, to / from);
    this.#half = CROSSINGS / this.#cutoff; // samples that a value is made of, on either side
  }

  /** The samples that can be given now, with those that have come. */
  accept(samples) {
    if (this.#step === 1) return samples;
    this.#kept = joined([this.#kept, samples]);
    const end = this.#first + this.#kept.length;
    const out = [];
    for (; this.#next * this.#step + this.#half < end; this.#next++) out.push(this.#at(this.#next * this.#step));
    const needed = Math.max(Math.floor(this.#next * this.#step - this.#half), 0);
    this.#kept = this.#kept.slice(needed - this.#first);
    this.#first = needed;
    return Float32Array.from(out);
  }

  /** The rest, when no more will come. */
  finish() {
    const num = Math.ceil((this.#first + this.#kept.length) / this.#step) - this.#next;
    if (this.#step === 1 || num <= 0) return new Float32Array(0);
    return this.accept(new Float32Array(Math.ceil(this.#half + this.#step))).subarray(0, num);
  }

  #at(time) {
    const first = Math.max(Math.ceil(time - this.#half), this.#first);
    const last = Math.floor(time + this.#half);
    let sum = 0;
    for (let n = first; n <= last; n++) {
      const away = time - n;
      const hann = 0.5 + 0.5 * Math.cos((Math.PI * away) / this.#half);
      const x = Math.PI * this.#cutoff * away;
      sum += this.#kept[n - this.#first] * this.#cutoff * hann * (x === 0 ? 1 : Math.sin(x) / x);
    }
    return sum;
  }
}

/** Pieces of samples as one. */
export function joined(pieces) {
  const whole = new Float32Array(pieces.reduce((sum, piece) => sum + piece.length, 0));
  let at = 0;
  for (const piece of pieces) {
    whole.set(piece, at);
    at += piece.length;
  }
  return whole;
}
