// The microphone as pieces of int16 PCM.

const REASONS = {
  NotAllowedError: "The microphone is not allowed: allow it for this page in the browser, then press again.",
  SecurityError: "The microphone is not allowed on this page.",
  NotFoundError: "No microphone was found: connect one, then press again.",
  NotReadableError: "The microphone cannot be read; another program may have it.",
};

/**
 * Open the microphone.
 * @param {(samples: Int16Array, level: number, rate: number) => void} onSamples gets about 40 ms at
 *     a time, mono, how loud they are, 0 to 1, and how many a second; from before this returns.
 * @returns {Promise<{rate: number, close(): void}>} rate: samples a second, as the machine has them.
 * @throws {Error} in words for the user.
 */
export async function openMicrophone(onSamples) {
  if (!navigator.mediaDevices?.getUserMedia || !window.AudioWorkletNode) {
    throw new Error(
      window.isSecureContext
        ? "This browser gives pages no microphone."
        : "Browsers give the microphone to pages of this machine (127.0.0.1) or over https alone.",
    );
  }
  let stream;
  try {
    // As it is: models are trained on speech without a browser's suppression of noise.
    const audio = { channelCount: 1, echoCancellation: false, noiseSuppression: false };
    stream = await navigator.mediaDevices.getUserMedia({ audio });
  } catch (error) {
    throw new Error(REASONS[error.name] ?? `The microphone cannot be opened: ${error.message}`);
  }
  const context = new AudioContext();
  try {
    await context.audioWorklet.addModule(new URL("capture-worklet.js", import.meta.url));
    const capture = new AudioWorkletNode(context, "capture", { numberOfOutputs: 0 });
    capture.port.onmessage = ({ data }) => onSamples(data, levelOf(data), context.sampleRate);
    context.createMediaStreamSource(stream).connect(capture);
    await context.resume();
  } catch (error) {
    close();
    throw new Error(`The microphone cannot be read: ${error.message}`);
  }

  function close() {
    for (const track of stream.getTracks()) track.stop();
    if (context.state !== "closed") context.close();
  }

  return { rate: context.sampleRate, close };
}

/** Loudness, 0 (-60 dB of full scale or less) to 1. */
function levelOf(samples) {
  let sum = 0;
  for (const sample of samples) sum += (sample / 32768) ** 2;
  const db = 10 * Math.log10(sum / samples.length + 1e-10);
  return Math.min(Math.max((db + 60) / 60, 0), 1);
}
