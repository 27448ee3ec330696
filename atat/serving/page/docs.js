// The description of the API (/openapi.json), to be read.

const main = document.getElementById("routes");

try {
  const api = await (await fetch("/openapi.json")).json();
  for (const [path, methods] of Object.entries(api.paths)) {
    for (const [method, about] of Object.entries(methods)) main.append(route(method, path, about));
  }
  main.append(stream());
} catch (error) {
  main.append(line("p", `The description cannot be read: ${error.message}`));
}

function route(method, path, about) {
  const card = document.createElement("section");
  card.className = "card";
  const title = line("h2", path);
  const verb = line("span", method.toUpperCase());
  verb.className = "method";
  title.prepend(verb);
  card.append(title, line("p", about.summary ?? ""), line("p", about.description ?? "", "faint"));
  const options = (about.parameters ?? []).map((one) => `${one.name}: ${kindOf(one.schema, one.description)}`);
  if (options.length) card.append(line("h3", "Options of the query"), list(options));
  const bodies = Object.keys(about.requestBody?.content ?? {});
  if (bodies.length) card.append(line("h3", "Body, of a type"), list(bodies));
  card.append(line("h3", "Answers"));
  card.append(list(Object.entries(about.responses).map(([code, one]) => `${code}: ${one.description}`)));
  const example = about.responses["200"]?.content?.["application/json"]?.example;
  if (example) card.append(line("pre", JSON.stringify(example, null, 2)));
  return card;
}

// OpenAPI has no words for a WebSocket.
function stream() {
  return route("WebSocket", "/v1/stream?rate=16000", {
    summary: "Understand a stream",
    description:
      'Send int16 PCM, little-endian and mono, in binary messages of 20 to 200 ms, and {"end": true} ' +
      "as text at the end. Events come as JSON: speech (it begins), words (so far), result (speech has " +
      "ended), too_long. Options of the query: rate, partial_words, and those of /v1/understand.",
    responses: {
      1000: { description: "Close code: all was understood." },
      1003: { description: "Other text than the end." },
      1007: { description: "An odd number of bytes." },
      1012: { description: "The service is stopping." },
      1013: { description: "Too many streams are open; try again later." },
      4408: { description: "No audio came, or answers were not read, in time." },
      4422: { description: "Options or audio that cannot be used." },
    },
  });
}

function kindOf(schema, description) {
  const kinds = schema.anyOf?.filter((one) => one.type !== "null") ?? [schema];
  const names = kinds.map((one) => {
    const range = [one.minimum, one.maximum].filter((bound) => bound !== undefined).join(" to ");
    return one.enum?.join(", ") ?? (range ? `${one.type}, ${range}` : one.type);
  });
  const value = schema.default === undefined ? "" : ` (default ${schema.default})`;
  return names.join(" or ") + value + (description ? `; ${description}` : "");
}

function list(lines) {
  const made = document.createElement("ul");
  made.append(...lines.map((one) => line("li", one)));
  return made;
}

function line(name, text, className = "") {
  const made = document.createElement(name);
  // Between backquotes is code.
  for (const [i, part] of text.split("`").entries()) {
    if (i % 2 === 0) made.append(part);
    else made.append(Object.assign(document.createElement("code"), { textContent: part }));
  }
  if (className) made.className = className;
  return made;
}
