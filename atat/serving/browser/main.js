// The page without a server: the app, with a model in this browser as what understands.

import { NBEST, show, showError, showWords, start } from "../page/app.js";
import { wordsOfSequence } from "../page/reading.js";
import { InBrowser } from "./in-browser.js";

const find = (id) => document.getElementById(id);
const inMB = (bytes) => (bytes / 1e6).toFixed(0);
const model = new InBrowser(new URL("../model/", import.meta.url).href, (loaded, all) => {
  find("model").textContent = `Loading the model: ${inMB(loaded)} of ${inMB(all)} MB`;
});

async function understandFile(file) {
  const begun = performance.now();
  try {
    const result = await model.understandFile(file, NBEST);
    showError(null);
    showWords(wordsOfSequence(result.semantics));
    show(result, performance.now() - begun);
  } catch (error) {
    showError(error);
  }
}

const input = Object.assign(document.createElement("input"), { type: "file", accept: "audio/*", hidden: true });
input.addEventListener("change", () => {
  if (input.files.length) understandFile(input.files[0]);
  input.value = ""; // the same file may be chosen again
});
const open = document.createElement("button");
Object.assign(open, { id: "open", type: "button", className: "quiet", textContent: "Open a recording" });
open.addEventListener("click", () => input.click());
find("words").after(open, input);
document.addEventListener("dragover", (event) => event.preventDefault());
document.addEventListener("drop", (event) => {
  event.preventDefault();
  const [file] = event.dataTransfer.files;
  if (file) understandFile(file);
});
start(model);
