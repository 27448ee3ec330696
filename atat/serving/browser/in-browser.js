// What understands, as the app (../page/app.js) takes it: a model in this browser, in a worker.

export class InBrowser {
  #worker = new Worker(new URL("worker.js", import.meta.url), { type: "module" });
  #pending = new Map(); // id of a request -> what to do with its answer
  #lastId = 0;
  #onEvent = () => {};
  #loaded;
  #nextExample = 0;

  /**
   * @param {string} directory address of the model, with a slash at the end.
   * @param {(loaded: number, all: number) => void} onProgress gets bytes while it loads.
   */
  constructor(directory, onProgress) {
    this.#worker.onmessage = ({ data }) => {
      if (data.event) this.#onEvent(data.event);
      else if (data.all) onProgress(data.loaded, data.all);
      else this.#answer(data);
    };
    this.#worker.onerror = ({ message }) => {
      for (const id of this.#pending.keys()) this.#answer({ id, error: message ?? "The model cannot be loaded." });
    };
    this.#loaded = this.#ask("load", directory);
  }

  /** A line about the model, when it is ready. */
  async about() {
    return (await this.#loaded).about;
  }

  /** Sentences to try: [{text, intent}]. */
  async examples(num) {
    const { examples } = await this.#loaded;
    const size = Math.min(num, examples.length);
    const drawn = Array.from({ length: size }, (_, i) => examples[(this.#nextExample + i) % examples.length]);
    this.#nextExample += size;
    return drawn;
  }

  /** The result of a typed sentence. */
  async understandText(text, nbest) {
    await this.#loaded;
    return this.#ask("understandText", text, nbest);
  }

  /** The result of a file of audio. */
  async understandFile(file, nbest) {
    const { rate } = await this.#loaded;
    let audio;
    try {
      // A context's rate is that of what it decodes.
      audio = await new OfflineAudioContext(1, 1, rate).decodeAudioData(await file.arrayBuffer());
    } catch {
      throw new Error(`${file.name} is no audio that this browser reads.`);
    }
    const channels = Array.from({ length: audio.numberOfChannels }, (_, c) => audio.getChannelData(c));
    const mono = channels[0].map((_, n) => channels.reduce((sum, x) => sum + x[n], 0) / channels.length);
    return this.#ask("understand", mono, nbest);
  }

  /**
   * Open a stream of speech; there is one at a time.
   * @param {{rate: number, nbest: number}} options samples a second, readings wanted.
   * @param {(event: object) => void} onEvent gets the session's events: kind, time_s, words, result.
   * @param {(trouble: Error|null) => void} onClose called once; null: it ended as it should.
   * @returns {Promise<{send(samples: Int16Array): void, end(): void, close(): void}>}
   */
  async openStream(options, onEvent, onClose) {
    await this.#loaded;
    await this.#ask("openStream", options);
    this.#onEvent = onEvent;
    return {
      send: (samples) => this.#ask("accept", samples).catch(onClose),
      end: () => this.#ask("finish").then(() => onClose(null), onClose),
      close: () => {
        this.#onEvent = () => {};
        this.#ask("closeStream");
      },
    };
  }

  #ask(method, ...args) {
    const id = ++this.#lastId;
    return new Promise((resolve, reject) => {
      this.#pending.set(id, { resolve, reject });
      this.#worker.postMessage({ id, method, args });
    });
  }

  #answer({ id, value, error }) {
    const { resolve, reject } = this.#pending.get(id);
    this.#pending.delete(id);
    if (error === undefined) resolve(value);
    else reject(new Error(error));
  }
}
