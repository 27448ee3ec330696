// The spectrum of frames of any size, by the mixed-radix transform of Cooley and Tukey (1965).

export class Spectrum {
  #size;
  #cos;
  #sin;
  #im;
  #outRe;
  #outIm;

  /** @param {number} size samples of a frame. */
  constructor(size) {
    this.#size = size;
    const circle = Array.from({ length: size }, (_, i) => (-2 * Math.PI * i) / size);
    this.#cos = Float64Array.from(circle, Math.cos);
    this.#sin = Float64Array.from(circle, Math.sin);
    this.#im = new Float64Array(size);
    this.#outRe = new Float64Array(size);
    this.#outIm = new Float64Array(size);
  }

  /**
   * The power of each frequency of a frame.
   * @param {Float64Array} frame (size,).
   * @returns {Float64Array} (size / 2 + 1,) squared magnitudes.
   */
  power(frame) {
    this.#transform(frame, 0, 1, this.#size, 0);
    const half = this.#size / 2 + 1;
    return Float64Array.from({ length: half }, (_, k) => this.#outRe[k] ** 2 + this.#outIm[k] ** 2);
  }

  /** Of `n` samples from `from` on, `stride` apart; written from `to` on. */
  #transform(frame, from, stride, n, to) {
    const [re, im] = [this.#outRe, this.#outIm];
    if (n === 1) {
      [re[to], im[to]] = [frame[from], this.#im[from]];
      return;
    }
    let radix = 2;
    while (n % radix) radix++;
    const part = n / radix;
    for (let q = 0; q < radix; q++) {
      this.#transform(frame, from + q * stride, stride * radix, part, to + q * part);
    }
    const partsRe = new Float64Array(radix);
    const partsIm = new Float64Array(radix);
    for (let k = 0; k < part; k++) {
      for (let q = 0; q < radix; q++) {
        partsRe[q] = re[to + q * part + k];
        partsIm[q] = im[to + q * part + k];
      }
      for (let r = 0; r < radix; r++) {
        // X[k + r n / radix] = sum over q of exp(-2 pi i q (k + r n / radix) / n) X_q[k]
        let [sumRe, sumIm] = [0, 0];
        for (let q = 0; q < radix; q++) {
          const turn = (q * (k + r * part) * stride) % this.#size;
          const [cos, sin] = [this.#cos[turn], this.#sin[turn]];
          sumRe += partsRe[q] * cos - partsIm[q] * sin;
          sumIm += partsRe[q] * sin + partsIm[q] * cos;
        }
        re[to + r * part + k] = sumRe;
        im[to + r * part + k] = sumIm;
      }
    }
  }
}
