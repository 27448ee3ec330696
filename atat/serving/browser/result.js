// What beam search found of an input, as its result: atat/inference/result.py and search_results.py.

/** A target sequence that has no tree. */
class NotWellFormed extends Error {}

/**
 * Intent and slots of a target sequence: "on( the room( hall )room )on".
 * @returns {{intent: string, slots: Array<[string, string]>}} in reading order; a slot's value is the
 *     words directly inside it, and a nested slot follows the one around it.
 * @throws {NotWellFormed}
 */
export function frame(semantics) {
  const slots = [];
  const open = [];
  let intent = null;
  for (const token of semantics.split(" ")) {
    if (intent !== null && open.length === 0) throw new NotWellFormed(`'${token}' stands after the end`);
    if (token.length > 1 && token.endsWith("(")) {
      const label = token.slice(0, -1);
      open.push({ label, words: [] });
      if (intent === null) intent = label;
      else slots.push([label, open.at(-1).words]);
    } else if (open.length === 0) {
      throw new NotWellFormed(`'${token}' stands before the first tag, expected 'intent('`);
    } else if (token.length > 1 && token.startsWith(")")) {
      const { label } = open.pop();
      if (token !== `)${label}`) throw new NotWellFormed(`'${token}' closes '${label}(', expected ')${label}'`);
    } else {
      open.at(-1).words.push(token);
    }
  }
  if (open.length) throw new NotWellFormed(`'${open.at(-1).label}(' is never closed`);
  return { intent, slots: slots.map(([name, words]) => [name, words.join(" ")]) };
}

/** The reading that a sequence holds: intent, slots, semantics, score, reason. */
export function read(semantics, score) {
  try {
    const { intent, slots } = frame(semantics);
    return { intent, slots: grouped(slots), semantics, score, reason: null };
  } catch (error) {
    if (!(error instanceof NotWellFormed)) throw error;
    return { intent: null, slots: {}, semantics, score, reason: `not well formed: ${error.message}` };
  }
}

/** Slots as a mapping; a name that is there more than once has the list of its values. */
function grouped(slots) {
  const values = Object.create(null); // "__proto__" is a name like any other
  for (const [name, value] of slots) (values[name] ??= []).push(value);
  for (const [name, held] of Object.entries(values)) if (held.length === 1) values[name] = held[0];
  return values;
}

/** Equal for two readings that mean the same: intent and slots, or the words. */
export function meaning({ intent, slots, semantics }) {
  return intent === null ? semantics : JSON.stringify([intent, Object.entries(slots).sort(byName)]);
}

/** As `meaning`, the slots in their order. */
function spelled({ intent, slots, semantics }) {
  return intent === null ? semantics : JSON.stringify([intent, slots]);
}

/** As `meaning`, the values of a slot in whatever order. */
function key({ intent, semantics }) {
  if (intent === null) return semantics;
  const values = frame(semantics).slots.map((slot) => JSON.stringify(slot));
  return JSON.stringify([intent, values.sort()]);
}

/**
 * The result of an input, as Result.to_dict().
 * @param {object[]} readings best first, slots as they are said.
 * @param {number} nbest readings that are shown, of different meanings.
 * @param {object|null} written how the grammar writes values: `values`, intent -> slot -> spoken ->
 *     written, and `fixed`, intent -> slot -> value, of slots that it implies; null: without grammar.
 * @param {object} about what else is known, and `doubt`: why the best is not taken.
 */
export function resultOf(readings, nbest, written, { doubt = null, ...about }) {
  const different = [...firsts(readings, spelled)].slice(0, nbest);
  const spoken = different[0].slots;
  const shown = written === null ? different : [...firsts(different, key)].map((r) => asWritten(r, written));
  const best = shown[0];
  const isSame = JSON.stringify(best.slots) === JSON.stringify(spoken);
  const result = { ...nothing(null), ...best, ...about, nbest: shown, spoken_slots: isSame ? null : spoken };
  if (doubt !== null && result.reason === null) {
    Object.assign(result, { intent: null, slots: {}, spoken_slots: null, reason: doubt });
  }
  return { ...result, is_understood: result.intent !== null };
}

/** A result without a reading. */
export function nothing(reason) {
  return {
    ...{ intent: null, slots: {}, semantics: "", score: null, reason, nbest: [], unknown: [] },
    ...{ duration_s: null, seconds: 0, confidence: null, accepted: null, slot_confidence: null },
    ...{ spoken_slots: null, error: null, is_understood: false },
  };
}

/** The first reading of each kind, in order. */
function firsts(readings, kind) {
  const found = new Map();
  for (const reading of readings) if (!found.has(kind(reading))) found.set(kind(reading), reading);
  return found.values();
}

function asWritten(reading, written) {
  const { fixed } = written;
  const values = Object.hasOwn(written.values, reading.intent) ? written.values[reading.intent] : {};
  const one = (name, value) => (Object.hasOwn(values[name] ?? {}, value) ? values[name][value] : value);
  const slots = Object.assign(Object.create(null), reading.intent === null ? {} : fixed[reading.intent]);
  for (const [name, value] of Object.entries(reading.slots)) {
    slots[name] = Array.isArray(value) ? value.map((v) => one(name, v)) : one(name, value);
  }
  return { ...reading, slots };
}

function byName([a], [b]) {
  return a < b ? -1 : Number(a > b);
}
