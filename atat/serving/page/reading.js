// Results as elements of a page. Knows nothing of servers or microphones: a result is the value of
// Python's Result.to_dict().

const NOT_UNDERSTOOD = "Not understood";

/**
 * The tree of a target sequence: "on( the room( hall )room light )on".
 * @param {string} semantics tokens separated by spaces: `name(`, `)name` or a word.
 * @returns {{label: string, children: Array}|null} children are words and nodes; null where it is
 *     not well formed.
 */
export function parseTree(semantics) {
  const top = { label: "", children: [] };
  const open = [top];
  for (const token of semantics.split(" ").filter(Boolean)) {
    const inside = open.at(-1);
    if (token.length > 1 && token.endsWith("(")) {
      const node = { label: token.slice(0, -1), children: [] };
      inside.children.push(node);
      open.push(node);
    } else if (token.length > 1 && token.startsWith(")")) {
      if (open.length === 1 || token.slice(1) !== inside.label) return null;
      open.pop();
    } else if (open.length === 1) {
      return null; // a word outside of all tags
    } else {
      inside.children.push(token);
    }
  }
  const [root] = top.children;
  return open.length === 1 && top.children.length === 1 ? root : null;
}

/** The words of a node, those of its slots among them. */
export function wordsOf(node) {
  return node.children.map((child) => (typeof child === "string" ? child : wordsOf(child))).join(" ");
}

/** The words of a target sequence, well formed or not. */
export function wordsOfSequence(semantics) {
  const isTag = (token) => token.length > 1 && (token.endsWith("(") || token.startsWith(")"));
  return semantics.split(" ").filter((token) => token && !isTag(token)).join(" ");
}

/**
 * A result, all of it.
 * @param {object} result of Result.to_dict().
 * @param {number} [answerMs] from the end of speech, or of typing, to the answer.
 * @returns {DocumentFragment}
 */
export function showResult(result, answerMs) {
  const shown = document.createDocumentFragment();
  const verdict = element("p", "verdict");
  const refused = result.accepted === false;
  if (result.is_understood) {
    verdict.append(element("strong", "", result.intent), " ", element("span", "badge", "understood"));
  } else {
    verdict.append(element("strong", "", NOT_UNDERSTOOD));
    verdict.append(element("span", "badge no", refused ? "refused" : "no reading"));
    verdict.append(element("span", "faint", result.reason ?? ""));
  }
  shown.append(verdict);
  // What is refused says in its first prediction what it would have been.
  const best = result.is_understood ? result : (result.nbest[0] ?? result);
  const tree = showTree(best, result.slot_confidence);
  if (tree) {
    if (!result.is_understood) shown.append(element("p", "faint", "It might have been:"));
    shown.append(tree);
  } else if (best.semantics) {
    shown.append(element("p", "", wordsOfSequence(best.semantics)));
  }
  shown.append(showFacts(result, answerMs));
  const others = result.nbest.slice(1);
  if (others.length) shown.append(showOthers(others));
  return shown;
}

function showTree(reading, slotConfidence) {
  const root = parseTree(reading.semantics ?? "");
  if (!root) return null;
  const tree = element("ul", "tree");
  const taken = new Map(); // slot -> how many of its values are shown
  tree.append(showNode(root, reading.slots ?? {}, slotConfidence ?? {}, taken, 0));
  return tree;
}

function showNode(node, slots, confidence, taken, depth) {
  const item = element("li");
  const said = wordsOf(node);
  item.append(element("span", "label", node.label), " ", element("span", "said", said));
  if (depth > 0) {
    // As the grammar writes it: 25 for "twenty five".
    const values = [slots[node.label] ?? []].flat();
    const value = values[taken.get(node.label) ?? 0];
    taken.set(node.label, (taken.get(node.label) ?? 0) + 1);
    if (value !== undefined && value !== said) item.append(" ", element("span", "value", `= ${value}`));
    if (node.label in confidence) {
      item.append(" ", element("span", "value share", percent(confidence[node.label])));
    }
  }
  const inner = node.children.filter((child) => typeof child !== "string");
  if (inner.length) {
    const list = element("ul");
    for (const child of inner) list.append(showNode(child, slots, confidence, taken, depth + 1));
    item.append(list);
  }
  return item;
}

function showFacts(result, answerMs) {
  const facts = element("dl", "facts");
  const add = (name, ...what) => {
    const value = element("dd");
    value.append(...what);
    facts.append(element("dt", "", name), value);
  };
  if (result.confidence !== null) {
    const meter = element("meter");
    meter.value = result.confidence;
    meter.setAttribute("aria-label", "confidence");
    add("Confidence", meter, ` ${percent(result.confidence)}`);
  }
  if (result.unknown.length) add("Unknown words", result.unknown.join(", "));
  const times = [`${inWords(result.seconds * 1000)} in the model`];
  if (result.duration_s !== null) times.push(`for ${result.duration_s.toFixed(1)} s of audio`);
  add("Time", times.join(" "));
  if (answerMs !== undefined) add("Answer", `${inWords(answerMs)} after the end`);
  return facts;
}

function showOthers(others) {
  const details = element("details");
  details.append(element("summary", "", `Other readings (${others.length})`));
  const list = element("ol");
  list.start = 2;
  for (const reading of others) {
    const item = element("li");
    item.append(showTree(reading) ?? wordsOfSequence(reading.semantics));
    if (reading.score !== null) {
      item.append(element("span", "faint", `log-probability ${reading.score.toFixed(2)}`));
    }
    list.append(item);
  }
  details.append(list);
  return details;
}

/** A share as percents; what is nearly 1 does not pass for it. */
export function percent(share) {
  return share > 0.999 && share < 1 ? "over 99.9 %" : `${(100 * share).toFixed(1)} %`;
}

function inWords(ms) {
  if (ms >= 1000) return `${(ms / 1000).toFixed(1)} s`;
  return ms < 10 ? `${ms.toFixed(1)} ms` : `${Math.round(ms)} ms`;
}

function element(name, className = "", text = "") {
  const made = document.createElement(name);
  if (className) made.className = className;
  if (text) made.textContent = text;
  return made;
}
