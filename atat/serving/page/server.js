// What understands, as the app (app.js) takes it, by a service (docs/service.md).

const TOKEN = "atat-token"; // of this tab's session

/** Something that went wrong, in words for the user. */
export class Trouble extends Error {
  /** @param {string} message empty: nothing to say.  @param {boolean} needsToken it asks for its token. */
  constructor(message, needsToken = false) {
    super(message);
    this.needsToken = needsToken;
  }
}

export class Server {
  /** @param {string} origin of the service: "http://127.0.0.1:8000". */
  constructor(origin) {
    this.origin = origin;
  }

  set token(value) {
    sessionStorage.setItem(TOKEN, value);
  }

  get token() {
    return sessionStorage.getItem(TOKEN) ?? "";
  }

  /** A line about what answers. */
  async about() {
    const health = await this.#ask("/health");
    return health.model;
  }

  /** Sentences to try: [{text, intent}]. */
  async examples(num) {
    return (await this.#ask(`/v1/examples?num=${num}`)).examples;
  }

  /** The result of a typed sentence. */
  async understandText(text, nbest) {
    const body = JSON.stringify({ text });
    const headers = { "Content-Type": "application/json" };
    return this.#ask(`/v1/text?nbest=${nbest}`, { method: "POST", headers, body });
  }

  /**
   * Open a stream of speech.
   * @param {{rate: number, nbest: number}} options samples a second, readings wanted.
   * @param {(event: object) => void} onEvent gets the session's events: kind, time_s, words, result.
   * @param {(trouble: Trouble|null) => void} onClose called once; null: it ended as it should.
   * @returns {Promise<{send(samples: Int16Array): void, end(): void, close(): void}>}
   */
  openStream({ rate, nbest }, onEvent, onClose) {
    const url = `${this.origin.replace(/^http/, "ws")}/v1/stream?rate=${rate}&nbest=${nbest}`;
    const protocols = ["atat", ...(this.token ? [`token.${base64url(this.token)}`] : [])];
    return new Promise((resolve, reject) => {
      const socket = new WebSocket(url, protocols);
      const send = (message) => socket.readyState === WebSocket.OPEN && socket.send(message);
      let isOpen = false;
      socket.onopen = () => {
        isOpen = true;
        resolve({ send, end: () => send('{"end": true}'), close: () => socket.close() });
      };
      socket.onmessage = (message) => onEvent(JSON.parse(message.data));
      socket.onclose = (closed) => {
        if (!isOpen) reject(new Trouble("The service took no stream; is it still running?"));
        else onClose(troubleOf(closed));
      };
    });
  }

  async #ask(path, options = {}) {
    const headers = { ...options.headers };
    if (this.token) headers.Authorization = `Bearer ${this.token}`;
    let response;
    try {
      response = await fetch(this.origin + path, { ...options, headers });
    } catch {
      throw new Trouble("The service does not answer; is it still running?");
    }
    if (response.ok) return response.json();
    if (response.status === 401) throw new Trouble(this.token ? "That is not its token." : "", true);
    const { error } = await response.json().catch(() => ({}));
    throw new Trouble(error ?? `The service answered ${response.status}.`);
  }
}

/** What a close code means to the user; null where all is well. */
function troubleOf({ code, reason }) {
  if (code === 1000 || code === 1005) return null;
  if (code === 1006) return new Trouble("The connection to the service was lost.");
  if (code === 1012) return new Trouble("The service is stopping.");
  return new Trouble(`The service ended the stream: ${reason || `code ${code}`}.`);
}

function base64url(text) {
  return btoa(text).replaceAll("+", "-").replaceAll("/", "_").replaceAll("=", "");
}
