// The utterances of a report: choose a row, filter, sort, search, compare two rows; sort tables;
// follow a recording in its spectrogram. The page is whole without it, but for repeated recordings.
// It reads attributes and text that are there and makes no HTML of them.
"use strict";
(() => {
  const all = (selector, root = document) => [...root.querySelectorAll(selector)];
  const numbers = (text) => new Set((text || "").split(" ").filter(Boolean));

  // A sound is in the page once; it is found by number where the recording stands again.
  for (const audio of all("audio[data-same]")) {
    const first = document.getElementById(`recording-${audio.dataset.same}`);
    if (first) audio.src = first.getAttribute("src");
  }

  const browser = document.getElementById("browser");
  const sections = all("details.row");
  if (browser && sections.length) browse();
  all("table.data").forEach(sortable);
  all("figure[data-seconds]").forEach(follow);

  function browse() {
    const [row, other, show, order] = ["row", "other", "show", "order"].map((name) => browser.elements[name]);
    const search = browser.elements.search;
    const told = document.getElementById("told");
    const titles = sections.map((section) => section.dataset.title);
    const needsOther = ["alone", "other", "neither"];
    const tests = {
      all: () => true,
      wrong: (one) => one.dataset.right === "0",
      right: (one) => one.dataset.right === "1",
      nbest: (one) => one.dataset.right === "0" && one.dataset.rank !== "0",
      alone: (one, b) => one.dataset.right === "1" && numbers(one.dataset.wrongIn).has(b),
      other: (one, b) => one.dataset.right === "0" && numbers(one.dataset.rightIn).has(b),
      neither: (one, b) => one.dataset.right === "0" && numbers(one.dataset.wrongIn).has(b),
    };
    // What has no such number, as an utterance that was not decoded, stands last.
    const value = (one, name) => (one.dataset[name] === "" ? Infinity : Number(one.dataset[name]));
    const surest = (one) => -value(one, one.dataset.confidence === "" ? "score" : "confidence");
    const keys = {
      id: () => 0,
      score: (one) => value(one, "score"),
      confidence: (one) => value(one, "confidence"),
      sure: (one) => (surest(one) === -Infinity ? Infinity : surest(one)),
      length: (one) => -value(one, "length"),
    };
    const place = (one) => Number(one.dataset.place);
    const before = (key) => (a, b) => {
      const [x, y] = [key(a), key(b)];
      return x < y ? -1 : x > y ? 1 : place(a) - place(b);
    };

    titles.forEach((title, number) => row.add(new Option(title, String(number))));
    read();
    browser.hidden = false;
    browser.addEventListener("submit", (event) => event.preventDefault());
    browser.addEventListener("input", (event) => {
      if (event.target === row) others();
      update();
    });
    addEventListener("hashchange", () => {
      read();
      update();
    });
    for (const link of all("a[data-view]")) link.addEventListener("click", () => browser.scrollIntoView());
    update();

    // The view is in the address, so that it can be sent.
    function read() {
      const wanted = new URLSearchParams(location.hash.slice(1));
      set(row, wanted.get("row"));
      others();
      for (const [field, name] of [[other, "other"], [show, "show"], [order, "order"]]) set(field, wanted.get(name));
      search.value = wanted.get("search") || "";
    }

    function set(field, wanted) {
      const known = [...field.options].some((option) => option.value === wanted);
      field.value = known ? wanted : field.options[0].value;
    }

    function others() {
      const chosen = other.value;
      while (other.options.length > 1) other.remove(1);
      for (const number of numbers(sections[Number(row.value)].dataset.others)) {
        other.add(new Option(titles[Number(number)], number));
      }
      set(other, chosen);
    }

    function update() {
      for (const option of show.options) option.disabled = needsOther.includes(option.value) && !other.value;
      if (show.selectedOptions[0].disabled) show.value = "all";
      sections.forEach((section, number) => {
        section.hidden = String(number) !== row.value;
        if (!section.hidden) section.open = true;
      });
      const section = sections[Number(row.value)];
      const list = section.querySelector(".utterances");
      const words = search.value.toLowerCase().split(/\s+/).filter(Boolean);
      const utterances = all(".utterance", list).sort(before(keys[order.value]));
      let shown = 0;
      for (const one of utterances) {
        one.text ??= one.textContent.toLowerCase().replace(/\s+/g, " ");
        const fits = tests[show.value](one, other.value) && words.every((word) => one.text.includes(word));
        one.hidden = !fits;
        shown += fits;
        list.append(one);
        for (const item of all("li[data-rows]", one)) {
          item.hidden = other.value !== "" && !numbers(item.dataset.rows).has(other.value);
        }
        const about = one.querySelector("details.others");
        if (about && other.value !== "") about.open = true;
      }
      told.textContent = `${shown} of the ${utterances.length} utterances of this row in the page`
        + ` (${section.dataset.total} in all)`;
      const view = { row: row.value, other: other.value, show: show.value, order: order.value, search: search.value };
      const hash = `#${new URLSearchParams(Object.entries(view).filter(([, text]) => text !== ""))}`;
      try {
        history.replaceState(null, "", hash);
      } catch {
        // A page in a frame without an address of its own.
      }
    }
  }

  function sortable(table) {
    const body = table.tBodies[0];
    const rows = [...body.rows];
    if (rows.length < 2 || rows.some((one) => one.cells.length !== rows[0].cells.length)) return;
    all("thead th", table).forEach((head, column) => {
      const button = document.createElement("button");
      button.type = "button";
      button.textContent = head.textContent;
      head.replaceChildren(button);
      button.addEventListener("click", () => {
        const sign = head.getAttribute("aria-sort") === "ascending" ? -1 : 1;
        all("thead th", table).forEach((one) => one.removeAttribute("aria-sort"));
        head.setAttribute("aria-sort", sign === 1 ? "ascending" : "descending");
        const text = (one) => one.cells[column].textContent.trim();
        const number = (one) => {
          const [, below, rest] = text(one).match(/^(< )?(.*)$/s);
          return parseFloat(rest.replaceAll(",", "")) - (below ? 1e-6 : 0); // "< 0.001" before 0.001
        };
        const compare = (a, b) => {
          const [x, y] = [number(a), number(b)];
          if (Number.isNaN(x) && Number.isNaN(y)) return sign * text(a).localeCompare(text(b));
          if (Number.isNaN(x) || Number.isNaN(y)) return Number.isNaN(x) ? 1 : -1; // gaps last
          return sign * (x - y);
        };
        body.append(...rows.sort(compare));
      });
    });
  }

  function follow(figure) {
    const audio = figure.closest(".utterance").querySelector("audio");
    const cursor = figure.querySelector(".cursor");
    const seconds = Number(figure.dataset.seconds);
    if (!audio) return;
    const draw = () => {
      cursor.hidden = false;
      cursor.style.left = `${Math.min(100, (100 * audio.currentTime) / seconds)}%`;
      if (!audio.paused) requestAnimationFrame(draw);
    };
    for (const event of ["play", "seeked"]) audio.addEventListener(event, draw);
    const play = (start) => {
      audio.currentTime = start;
      audio.play();
    };
    for (const word of all(".word", figure)) word.addEventListener("click", () => play(Number(word.dataset.start)));
    figure.querySelector("img").addEventListener("click", (event) => {
      play((seconds * event.offsetX) / event.target.clientWidth);
    });
  }
})();
