// What the page does, whatever understands: a service (server.js), or a model in the browser.

import { openMicrophone } from "./microphone.js";
import { showResult, wordsOfSequence } from "./reading.js";

export const NBEST = 3;
const NUM_EXAMPLES = 6;
const PATIENCE_MS = 15000; // without speech
const IDLE = "Press the button or the space bar, and speak.";
const SILENT = "Nothing was heard. Press again, and speak.";
const find = (id) => document.getElementById(id);

/**
 * Bring the page to life.
 * @param {object} backend with about(), examples(num), understandText(text, nbest), openStream({rate,
 *     nbest}, onEvent, onClose), and token, which is set where an error has needsToken.
 */
export function start(backend) {
  const listening = new Listening(backend);
  find("microphone").addEventListener("click", () => listening.toggle());
  document.addEventListener("keydown", (event) => {
    // Where the space bar has no meaning of its own.
    const isFree = !event.target.closest("input, button, summary, a");
    if (event.code === "Space" && isFree && !event.repeat) {
      event.preventDefault();
      listening.toggle();
    }
  });
  find("text-form").addEventListener("submit", (event) => {
    event.preventDefault();
    const text = find("text").value.trim();
    if (text) understandText(backend, text);
  });
  find("more-examples").addEventListener("click", () => showExamples(backend));
  find("token-form").addEventListener("submit", (event) => {
    event.preventDefault();
    backend.token = find("token").value;
    find("token-form").hidden = true;
    begin(backend);
  });
  begin(backend);
}

async function begin(backend) {
  try {
    find("model").textContent = await backend.about();
    await showExamples(backend);
  } catch (error) {
    showError(error);
  }
}

async function showExamples(backend) {
  try {
    const examples = await backend.examples(NUM_EXAMPLES);
    const items = examples.map(({ text, intent }) => {
      const button = document.createElement("button");
      button.type = "button";
      button.textContent = text;
      button.title = intent;
      button.addEventListener("click", () => {
        find("text").value = text;
        understandText(backend, text);
      });
      const item = document.createElement("li");
      item.append(button);
      return item;
    });
    find("example-list").replaceChildren(...items);
    find("examples").hidden = items.length === 0;
    showError(null);
  } catch (error) {
    showError(error);
  }
}

async function understandText(backend, text) {
  const start = performance.now();
  try {
    const result = await backend.understandText(text, NBEST);
    showError(null);
    showWords("");
    show(result, performance.now() - start);
    find("result").scrollIntoView({ block: "nearest" });
  } catch (error) {
    showError(error);
  }
}

/** One utterance after the other: the microphone is open from a press to the end of speech. */
class Listening {
  #backend;
  #microphone = null;
  #stream = null;
  #pending = []; // samples from before the stream is open
  #utterance = null; // a mark of the one that is open: others' streams may still have events
  #state = "idle"; // opening, listening, finishing
  #patience = 0;
  #hasResult = false;
  #startedAt = 0; // of the stream's time, in the page's

  constructor(backend) {
    this.#backend = backend;
  }

  toggle() {
    if (this.#state === "idle") this.#begin();
    else if (this.#state === "listening") this.#finish();
  }

  async #begin() {
    this.#become("opening", "Opening the microphone ...");
    showError(null);
    showWords("");
    find("result").classList.add("stale");
    this.#hasResult = false;
    const utterance = (this.#utterance = Symbol());
    const ofThis = (method) => (...values) => this.#utterance === utterance && method(...values);
    try {
      this.#microphone = await openMicrophone(ofThis((...piece) => this.#hear(...piece)));
      const options = { rate: this.#microphone.rate, nbest: NBEST };
      const onEvent = ofThis((event) => this.#notice(event));
      const onClose = ofThis((trouble) => this.#end(trouble));
      this.#stream = await this.#backend.openStream(options, onEvent, onClose);
      for (const samples of this.#pending.splice(0)) this.#stream.send(samples);
      this.#become("listening", "Listening. Press again when you have finished.");
      this.#patience = setTimeout(() => this.#finish(), PATIENCE_MS);
    } catch (error) {
      this.#end(error);
    }
  }

  #hear(samples, level, rate) {
    find("microphone").style.setProperty("--level", level.toFixed(2));
    this.#startedAt ||= performance.now() - (1000 * samples.length) / rate;
    if (this.#stream) this.#stream.send(samples);
    else this.#pending.push(samples);
  }

  #notice(event) {
    if (event.kind === "speech") {
      clearTimeout(this.#patience);
    } else if (event.kind === "words") {
      showWords(event.words, true);
    } else if (event.kind === "result") {
      const endedAt = this.#startedAt + 1000 * event.time_s; // speech, not the stream
      showWords(wordsOfSequence(event.result.semantics));
      show(event.result, performance.now() - endedAt);
      this.#hasResult = true;
      this.#end(null);
    } else if (event.kind === "too_long") {
      this.#end(new Error("That was longer than the model takes. Say it shorter."));
    }
  }

  #finish() {
    if (this.#state !== "listening") return;
    this.#become("finishing", "Understanding ...");
    this.#microphone.close();
    this.#stream.end();
  }

  #end(error) {
    if (this.#state === "idle") return;
    clearTimeout(this.#patience);
    this.#microphone?.close();
    this.#stream?.close();
    this.#microphone = this.#stream = this.#utterance = null;
    this.#pending = [];
    this.#startedAt = 0;
    this.#become("idle", this.#hasResult || error ? IDLE : SILENT);
    if (error) showError(error);
  }

  #become(state, status) {
    this.#state = state;
    const isOpen = state === "listening";
    const button = find("microphone");
    button.setAttribute("aria-pressed", String(isOpen));
    // Not `disabled`, which would take the keyboard's focus away.
    button.setAttribute("aria-disabled", String(state === "opening" || state === "finishing"));
    if (!isOpen) button.style.removeProperty("--level");
    find("microphone-label").textContent = isOpen ? "Stop" : "Speak";
    find("status").textContent = status;
  }
}

export function show(result, answerMs) {
  find("result").replaceChildren(showResult(result, answerMs));
  find("result").hidden = false;
  find("result").classList.remove("stale");
}

export function showWords(words, isPartial = false) {
  find("words").textContent = words;
  find("words").classList.toggle("partial", isPartial);
}

export function showError(error) {
  find("error").hidden = !error?.message;
  find("error").textContent = error?.message ?? "";
  if (error?.needsToken) {
    find("token-form").hidden = false;
    find("token").focus();
  }
}
