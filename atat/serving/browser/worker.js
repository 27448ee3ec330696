// The model's own thread: requests {id, method, args} in, {id, value} or {id, error} out, one after the
// other; of the open stream {event}, while it loads {loaded, all}.

import * as ort from "../onnxruntime/ort.wasm.bundle.min.mjs";
import { Model } from "./model.js";
import { Session } from "./session.js";

ort.env.wasm.numThreads = 1; // more need headers that a plain web server does not send
ort.env.wasm.wasmPaths = { wasm: new URL("../onnxruntime/ort-wasm-simd-threaded.wasm", import.meta.url).href };

let model = null;
let session = null;
let waiting = 0;
let last = Promise.resolve();

const methods = {
  async load(directory) {
    model = await Model.load(ort, directory, (loaded, all) => postMessage({ loaded, all }));
    return { about: model.about.about, examples: model.about.examples, rate: model.about.features.sample_rate_hz };
  },
  understand: (samples, nbest) => model.understand(samples, nbest),
  understandText: (text, nbest) => model.understandText(text, nbest),
  openStream(options) {
    session = new Session(model, { ...options, isBusy: () => waiting > 1 });
  },
  accept: async (samples) => report(await session?.accept(samples)),
  finish: async () => report(await session?.finish()),
  closeStream() {
    session = null;
  },
};

onmessage = ({ data: { id, method, args } }) => {
  waiting++;
  last = last.then(async () => {
    try {
      postMessage({ id, value: await methods[method](...args) });
    } catch (error) {
      postMessage({ id, error: error.message });
    }
    waiting--;
  });
};

function report(events = []) {
  for (const event of events) postMessage({ event });
}
