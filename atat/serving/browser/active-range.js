// The speech inside a recording, and its level: active_range and at_level of atat/data/active_speech.py.

const FRAME_S = 0.01;
const SMOOTHING_FRAMES = 7; // a median over 70 ms ignores clicks
const NOISE_PERCENTILES = [10, 40]; // of the levels: the noise, and how it swells
const MARGIN_PER_SWELL = 2.5;
const MARGIN_DB = [5, 10];
const PADDING_S = 0.2;
const PADDING_S_PER_DB = 0.01; // more where noise hides more
const MAX_PAUSE_S = 0.7;
const MIN_SPEECH_S = 0.08;
const SILENCE_DB = -75; // of full scale: where no 10 ms are louder, nobody speaks

/** There is no speech, which is an answer and not an error. */
export class NoSpeech extends Error {}

/** The first sample that features are made of, and the one after the last. */
export function speechRange(samples, settings) {
  const seconds = samples.length / settings.sample_rate_hz;
  if (seconds < settings.min_duration_s) {
    throw new RangeError(`${seconds.toFixed(3)} s long, expected ${settings.min_duration_s} s or more`);
  }
  if (settings.trim_db === null) return [0, samples.length];
  return activeRange(samples, settings.sample_rate_hz, settings.trim_db);
}

/**
 * From the first to the last active frame, padded. A frame of 10 ms is active when its level,
 * smoothed by a median, is within `trimDb` of the loudest and clearly above the noise.
 */
export function activeRange(samples, rate, trimDb) {
  const hop = Math.round(FRAME_S * rate);
  const smooth = medians(levelsDb(samples, rate));
  if (smooth.length === 0) return [0, samples.length];
  const sorted = smooth.toSorted();
  const [noise, swell] = NOISE_PERCENTILES.map((percent) => percentile(sorted, percent));
  const loudest = sorted.at(-1);
  const margin = Math.min(Math.max(MARGIN_PER_SWELL * (swell - noise), MARGIN_DB[0]), MARGIN_DB[1]);
  const hidden = Math.max(noise + margin - (loudest - trimDb), 0);
  // Active frames with short pauses between them belong together; a short group is a click.
  const groups = [];
  smooth.forEach((level, t) => {
    if (level < loudest - trimDb + hidden) return;
    const group = groups.at(-1);
    if (group && t - group.last <= MAX_PAUSE_S / FRAME_S) {
      group.last = t;
      group.size++;
    } else {
      groups.push({ first: t, last: t, size: 1 });
    }
  });
  const spoken = groups.filter(({ size }) => size >= MIN_SPEECH_S / FRAME_S);
  if (spoken.length === 0) return [0, samples.length];
  const padding = Math.round((PADDING_S + PADDING_S_PER_DB * hidden) * rate);
  const [start, end] = [spoken[0].first * hop - padding, (spoken.at(-1).last + 1) * hop + padding];
  return [Math.max(start, 0), Math.min(end, samples.length)];
}

/** A recording without its mean, its loudest 10 ms at `levelDb` of full scale. */
export function atLevel(samples, levelDb, rate) {
  const loudest = levelsDb(samples, rate).reduce((most, level) => Math.max(most, level), -Infinity);
  if (loudest < SILENCE_DB) {
    throw new NoSpeech(
      `no speech: silent (its loudest 10 ms have ${Math.max(loudest, -100).toFixed(0)} dB of full ` +
        `scale, expected ${SILENCE_DB} dB or more)`,
    );
  }
  const mean = samples.reduce((sum, x) => sum + x, 0) / samples.length;
  const gain = 10 ** ((levelDb - loudest) / 20);
  return samples.map((x) => (x - mean) * gain);
}

/** Level of each whole frame of 10 ms, in dB of full scale, without its mean. */
function levelsDb(samples, rate) {
  const hop = Math.round(FRAME_S * rate);
  return Float64Array.from({ length: Math.floor(samples.length / hop) }, (_, t) => {
    const frame = samples.subarray(t * hop, (t + 1) * hop);
    const mean = frame.reduce((sum, x) => sum + x, 0) / hop;
    const variance = frame.reduce((sum, x) => sum + (x - mean) ** 2, 0) / hop;
    return 10 * Math.log10(variance + 1e-10);
  });
}

function medians(levels) {
  const half = Math.floor(SMOOTHING_FRAMES / 2);
  return levels.map((_, t) => {
    const around = Float64Array.from({ length: SMOOTHING_FRAMES }, (_, i) => {
      return levels[Math.min(Math.max(t + i - half, 0), levels.length - 1)];
    });
    return around.sort()[half];
  });
}

/** Interpolated between the nearest ranks, as numpy.percentile. */
function percentile(sorted, percent) {
  const rank = (percent / 100) * (sorted.length - 1);
  const below = Math.floor(rank);
  const above = Math.min(below + 1, sorted.length - 1);
  return sorted[below] + (rank - below) * (sorted[above] - sorted[below]);
}
