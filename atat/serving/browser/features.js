// Log mel features of samples: Kaldi's filter bank or Whisper's, as atat/data/filter_bank.py.

import { atLevel, speechRange } from "./active-range.js";
import { Spectrum } from "./fft.js";

const INT16_SCALE = 32768; // Kaldi's samples are 16-bit integers
const LEAST_POWER = 2 ** -23; // Kaldi's floor before the logarithm: float32's epsilon
const LEAST_WHISPER_POWER = 1e-10;

/**
 * Features of one recording as the model takes them.
 * @param {Float32Array} samples within [-1, 1] at `settings.sample_rate_hz`.
 * @param {object} settings `features` of the model: kind, num_mel_bins, frame_length_ms,
 *     frame_shift_ms, sample_rate_hz, min_duration_s, trim_db, level_db.
 * @returns {{values: Float32Array, numFrames: number}} natural logarithms, (T, F).
 * @throws {NoSpeech} silent, where a level is wanted.  @throws {RangeError} too short.
 */
export function extract(samples, settings) {
  const [start, end] = speechRange(samples, settings);
  let speech = samples.subarray(start, end);
  if (settings.level_db !== null) speech = atLevel(speech, settings.level_db, settings.sample_rate_hz);
  return settings.kind === "whisper" ? whisperMel(speech, settings) : filterBank(speech, settings);
}

/** Kaldi's (feat/feature-fbank.cc): no dither, snip edges, povey window, from 20 Hz to half the rate. */
export function filterBank(samples, settings) {
  const rate = settings.sample_rate_hz;
  const length = Math.trunc(rate * 0.001 * settings.frame_length_ms);
  const shift = Math.trunc(rate * 0.001 * settings.frame_shift_ms);
  checkLength(samples, length, rate);
  const size = 2 ** Math.ceil(Math.log2(length));
  const spectrum = new Spectrum(size);
  const window = hann(length, length - 1).map((w) => w ** 0.85); // povey
  const filters = melFilters(settings.num_mel_bins, size, rate);
  const numFrames = 1 + Math.floor((samples.length - length) / shift);
  const frame = new Float64Array(size);
  return features(numFrames, filters, LEAST_POWER, (t) => {
    const part = samples.subarray(t * shift, t * shift + length);
    const mean = part.reduce((sum, x) => sum + x, 0) / length;
    let before = part[0] - mean; // of the first, itself
    for (let n = 0; n < length; n++) {
      const sample = part[n] - mean;
      frame[n] = INT16_SCALE * window[n] * (sample - 0.97 * before); // pre-emphasis
      before = sample;
    }
    return spectrum.power(frame);
  });
}

/** Whisper's (Radford et al. 2022, section 2.2): frames around multiples of the shift, Hann window. */
export function whisperMel(samples, settings) {
  const rate = settings.sample_rate_hz;
  const length = Math.round((settings.frame_length_ms * rate) / 1000);
  const shift = Math.round((settings.frame_shift_ms * rate) / 1000);
  checkLength(samples, length, rate);
  const spectrum = new Spectrum(length);
  const window = hann(length, length);
  const filters = slaneyFilters(settings.num_mel_bins, length, rate);
  const frame = new Float64Array(length);
  const last = samples.length - 1;
  return features(Math.floor(samples.length / shift), filters, LEAST_WHISPER_POWER, (t) => {
    for (let n = 0; n < length; n++) {
      const at = Math.abs(t * shift + n - Math.floor(length / 2)); // reflected at both ends
      frame[n] = window[n] * samples[at > last ? 2 * last - at : at];
    }
    return spectrum.power(frame);
  });
}

function features(numFrames, filters, floor, powerOf) {
  const values = new Float32Array(numFrames * filters.length);
  for (let t = 0; t < numFrames; t++) {
    const power = powerOf(t);
    filters.forEach(({ first, weights }, bin) => {
      let energy = 0;
      for (let k = 0; k < weights.length; k++) energy += weights[k] * power[first + k];
      values[t * filters.length + bin] = Math.log(Math.max(energy, floor));
    });
  }
  return { values, numFrames };
}

function hann(length, period) {
  return Float64Array.from({ length }, (_, n) => 0.5 - 0.5 * Math.cos((2 * Math.PI * n) / period));
}

/** Triangles on the mel scale, mel(f) = 1127 ln(1 + f / 700) (feat/mel-computations.cc). */
function melFilters(numBins, size, rate) {
  const mel = (hz) => 1127 * Math.log(1 + hz / 700);
  const lowest = mel(20);
  const step = (mel(rate / 2) - lowest) / (numBins + 1);
  const melOfBin = Float64Array.from({ length: size / 2 }, (_, k) => mel((k * rate) / size));
  return Array.from({ length: numBins }, (_, bin) => {
    const left = lowest + bin * step;
    return sparse(melOfBin.map((m) => Math.min(m - left, left + 2 * step - m) / step));
  });
}

/** Triangles of equal area between points that are equally far on Slaney's mel scale: linear to
 * 1 kHz, logarithmic above (Slaney 1998, "Auditory Toolbox"). */
function slaneyFilters(numBins, size, rate) {
  const [hzPerMel, kneeHz, logStep] = [200 / 3, 1000, Math.log(6.4) / 27];
  const knee = kneeHz / hzPerMel;
  const highest = knee + Math.log(rate / 2 / kneeHz) / logStep;
  const hzOfPoint = Float64Array.from({ length: numBins + 2 }, (_, p) => {
    const mel = (highest * p) / (numBins + 1);
    return mel < knee ? mel * hzPerMel : kneeHz * Math.exp((mel - knee) * logStep);
  });
  const hzOfBin = Float64Array.from({ length: Math.floor(size / 2) + 1 }, (_, k) => (k * rate) / size);
  return Array.from({ length: numBins }, (_, bin) => {
    const [left, centre, right] = hzOfPoint.subarray(bin, bin + 3);
    const area = 2 / (right - left);
    const weight = (hz) => area * Math.min((hz - left) / (centre - left), (right - hz) / (right - centre));
    return sparse(hzOfBin.map(weight));
  });
}

/** The part of a filter that is above 0. */
function sparse(weights) {
  const first = Math.max(weights.findIndex((w) => w > 0), 0);
  return { first, weights: weights.subarray(first, weights.findLastIndex((w) => w > 0) + 1) };
}

function checkLength(samples, length, rate) {
  if (samples.length >= length) return;
  const got = `${(samples.length / rate).toFixed(3)} s of audio`;
  throw new RangeError(`${got}, expected a frame of ${length / rate} s or more`);
}
