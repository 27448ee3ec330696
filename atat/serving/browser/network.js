// The exported networks on onnxruntime-web, one utterance at a time, as atat/inference/onnx_network.py.
//
// G layers, H heads, W their width, T memory frames, K hypotheses, N past positions of all of them.

const LOWEST = -3.4028234663852886e38; // of float32: added to what shall not be attended to

export class Network {
  #ort;
  #sessions;

  /**
   * @param {object} ort onnxruntime-web.
   * @param {(name: string) => Promise<Uint8Array>} fetchFile bytes of a file of the model.
   * @param {{has_ctc: boolean, max_positions: number|null}} about of model.json.
   */
  constructor(ort, fetchFile, about) {
    [this.#ort, this.#sessions, this.fetchFile, this.about] = [ort, new Map(), fetchFile, about];
  }

  /** Read a graph; `run` reads what has not been. */
  load(name) {
    if (!this.#sessions.has(name)) {
      // The export has optimised it.
      const options = { executionProviders: ["wasm"], graphOptimizationLevel: "disabled", logSeverityLevel: 3 };
      const session = this.fetchFile(name).then((bytes) => this.#ort.InferenceSession.create(bytes, options));
      this.#sessions.set(name, session);
    }
    return this.#sessions.get(name);
  }

  /**
   * Compute a graph.
   * @param {string} name file of the graph.
   * @param {object} inputs name -> [values, shape]: Float32Array, BigInt64Array, and Uint8Array of bools.
   * @returns {Promise<object[]>} its outputs in order: `data` and `dims` of each.
   */
  async run(name, inputs) {
    const session = await this.load(name);
    const feeds = {};
    for (const [input, [values, shape]] of Object.entries(inputs)) {
      feeds[input] = new this.#ort.Tensor(typeOf(values), values, shape);
    }
    const found = await session.run(feeds);
    return session.outputNames.map((output) => found[output]);
  }

  /** Decoder memory, its mask and CTC's log-probabilities of the frames of features (features.js). */
  async encodeSpeech({ values, numFrames }) {
    const shape = [1, numFrames, values.length / numFrames];
    const inputs = { speech: [values, shape], lengths: [BigInt64Array.of(BigInt(numFrames)), [1]] };
    const [memory, mask, ctc] = await this.run("speech.onnx", inputs);
    return { memory, mask: mask.data, ctc: this.about.has_ctc ? realFrames(ctc, mask.data) : null };
  }

  /** Decoder memory and its mask of a sentence's token ids. */
  async encodeText(ids) {
    const token = [BigInt64Array.from(ids, BigInt), [1, ids.length]];
    const inputs = { token, lengths: [BigInt64Array.of(BigInt(ids.length)), [1]] };
    const [memory, mask] = await this.run("text.onnx", inputs);
    return { memory, mask: mask.data, ctc: null };
  }

  /** A decoder over the memory of one utterance, as search.js takes it. */
  async decoder({ memory, mask }) {
    const [data, isReal] = [memory.data.slice(), Uint8Array.from(mask)];
    if (!isReal.includes(1)) {
      // Without any frame: attend to one frame of nothing, never to the padding.
      data.fill(0);
      isReal[0] = 1;
    }
    const [keys, values] = await this.run("memory.onnx", { memory: [data, memory.dims] });
    const bias = Float32Array.from(isReal, (real) => (real ? 0 : LOWEST));
    return new Decoder(this, keys, values, bias);
  }
}

class Decoder {
  #network;
  #memory;
  #layers;

  constructor(network, keys, values, bias) {
    this.#network = network;
    this.#memory = {
      memory_keys: [keys.data, keys.dims],
      memory_values: [values.data, values.dims],
      memory_bias: [bias, [1, 1, 1, bias.length]],
    };
    this.#layers = keys.dims; // (G, 1, H, T, W)
  }

  /** The state before the first token, of one empty hypothesis. */
  start() {
    const [layers, , heads, , width] = this.#layers;
    const none = [new Float32Array(0), [layers, 1, heads, 0, width]];
    return { position: 0, keys: none, values: none, lineage: [[]] };
  }

  /**
   * Feed one token to each hypothesis.
   * @returns {Promise<{logProbs: Float32Array, state: object}>} of the next token, (K, V).
   */
  async step(tokens, state) {
    const longest = this.#network.about.max_positions;
    if (longest !== null && state.position >= longest) {
      throw new Error(`the decoder has learned ${longest} positions and no more`);
    }
    // Which keys are of a hypothesis' own past: 0, or LOWEST.
    const num = tokens.length;
    const lineage = state.lineage.map((past, k) => [...past, ...tokens.map((_, j) => (j === k ? 0 : LOWEST))]);
    const shape = [1, 1, num, lineage[0].length];
    const [logProbs, keys, values] = await this.#network.run("step.onnx", {
      token: [BigInt64Array.from(tokens, BigInt), [1, num]],
      position: [BigInt64Array.of(BigInt(state.position)), []],
      keys: state.keys,
      values: state.values,
      lineage: [Float32Array.from(lineage.flat()), shape],
      ...this.#memory,
    });
    const after = { keys: [keys.data, keys.dims], values: [values.data, values.dims] };
    return { logProbs: logProbs.data, state: { position: state.position + 1, ...after, lineage } };
  }

  /** Hypothesis `parents[k]` goes on as hypothesis k. */
  select(parents, state) {
    return { ...state, lineage: parents.map((parent) => state.lineage[parent]) };
  }
}

/** CTC's outputs of real frames, (T, V): a padded one changes no probability. */
function realFrames({ data, dims }, mask) {
  const size = dims[2];
  const rows = [...mask.keys()].filter((t) => mask[t]);
  const real = new Float32Array(rows.length * size);
  rows.forEach((t, row) => real.set(data.subarray(t * size, (t + 1) * size), row * size));
  return real;
}

function typeOf(values) {
  if (values instanceof Float32Array) return "float32";
  return values instanceof BigInt64Array ? "int64" : "bool";
}
