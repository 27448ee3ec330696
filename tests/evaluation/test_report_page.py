"""The page: one file, safe, and what it shows is true."""

import base64
import hashlib
import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from atat.evaluation import report_page
from atat.evaluation.report_recordings import Recordings
from atat.evaluation.report_utterances import Answers
from tests.made_up_recipe import Page, load, make_recipe, run_report
from tests.serving.browser.javascript import javascript


def test_the_page_is_one_file_and_escapes_what_it_shows(written):
    text = (written["out"] / "report.html").read_text()
    page = Page(text)
    names = {tag for tag, _ in page.elements}
    assert names.isdisjoint({"link", "iframe", "flite", "nlu"})
    assert [a for tag, a in page.elements if tag == "script"] == [{}]  # part of the page
    sources = [attributes["src"] for tag, attributes in page.elements if tag == "img"]
    assert len(sources) == 1 and sources[0].startswith("data:image/png;base64,")
    assert "AT-AT zero-shot, <nlu> token | text" in [cell.strip() for cell in page.cells]
    assert "&lt;flite&gt; &amp; others" in text


def test_tables_and_commands_scroll_in_boxes_of_their_own(written):
    text = (written["out"] / "report.html").read_text()
    assert text.count("<table") == text.count('<div class="wide"><table')
    assert re.search(r'<div class="wide[^>]*>[^<]*<code class="whole">./run.sh</code>', text)
    assert "minmax(0, 1fr)" in text  # else a long word makes the page wider than a telephone


HOSTILE = (
    "<script>document.title='owned'</script>",
    "<img src=x onerror=document.title='owned'>",
    "\" onmouseover=document.title='owned' x=\"",
    "</details></script><svg onload=document.title='owned'>",
    "{{ 7 * 7 }}",
)


@pytest.fixture(scope="module")
def hostile(tmp_path_factory):
    """The page of a recipe in whose names, ids, references and hypotheses markup stands."""
    root = tmp_path_factory.mktemp("hostile")
    paths = make_recipe(root / "recipe", num_utterances=20)
    path = paths["expdir"] / "e2e" / "decode_test" / "hyp.jsonl"
    lines = [json.loads(line) for line in path.open()]
    for number, line in enumerate(lines):
        text = HOSTILE[number % len(HOSTILE)]
        line |= {"id": f"{line['id']}{text}", "hypothesis": text, "em_hyp": False, "reason": text}
        line["reference"] = "go( to( " + " ".join(re.sub(r"[()]", "", text).split()) + " )to )go"
        line["nbest"] = [{"hypothesis": text, "score": -i} for i in (1.0, 2.0)]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    tables = paths["tables"].read_text()
    paths["tables"].write_text(tables.replace("{row: E2E,", f"{{row: {json.dumps(HOSTILE[0])},"))
    with pytest.MonkeyPatch.context() as patch:
        run_report(paths, patch)
    return paths["out"] / "report.html"


@pytest.mark.supports("Text", "markup in names, ids and hypotheses", "shown as text in the report")
def test_markup_in_data_stays_text(hostile):
    text = hostile.read_text()
    page = Page(text)
    tags = [tag for tag, _ in page.elements]
    assert tags.count("script") == 1 and {"svg", "b"}.isdisjoint(tags)
    assert not [a for _, attributes in page.elements for a in attributes if a.startswith("on")]
    sources = [attributes["src"] for tag, attributes in page.elements if tag == "img"]
    assert sources and all(source.startswith("data:image/png;base64,") for source in sources)
    assert "{{ 7 * 7 }}" in text
    # And if it did not: the page lets no script run but the one whose digest it names.
    (script,) = re.findall(r"<script>(.*?)</script>", text, re.DOTALL)
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    (policy,) = (a["content"] for tag, a in page.elements if "http-equiv" in a)
    assert f"script-src 'sha256-{digest}';" in policy and policy.startswith("default-src 'none';")


def browse(page, view: str, tmp_path) -> Page:
    """The page as a browser has it after its script has run, with a view in the address."""
    browser = shutil.which("chromium") or shutil.which("chromium-browser")
    if browser is None:
        pytest.skip("no chromium here (apt-get install chromium)")
    options = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking"]
    options += ["--no-first-run", "--disable-sync", "--disable-component-update", "--disable-quic"]
    options += [f"--user-data-dir={tmp_path / 'profile'}", "--dump-dom"]
    done = subprocess.run(
        [browser, *options, f"{page.as_uri()}#{view}"], capture_output=True, text=True, timeout=240
    )
    assert done.returncode == 0, done.stderr
    return Page(done.stdout)


@pytest.mark.parametrize("width", [390, 1280])
def test_the_page_is_no_wider_than_a_telephone_or_a_screen(hostile, width, tmp_path):
    browser = shutil.which("chromium") or shutil.which("chromium-browser")
    if browser is None:
        pytest.skip("no chromium here (apt-get install chromium)")
    playwright = pytest.importorskip("playwright.sync_api")
    with playwright.sync_playwright() as p:
        options = ["--no-sandbox", "--disable-gpu"]
        chromium = p.chromium.launch(executable_path=browser, args=options)
        page = chromium.new_page(viewport={"width": width, "height": 800})
        page.goto(hostile.as_uri())
        page.evaluate("document.querySelectorAll('details').forEach(one => { one.open = true })")
        assert page.evaluate("document.querySelectorAll('details').length") > 20
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        chromium.close()


def of_row(page: Page, number: int) -> list[dict]:
    """Attributes of the utterances of a row that are not hidden; all other rows are."""
    rows = [a for tag, a in page.elements if tag == "details" and a.get("class") == "row"]
    assert ["hidden" in row for row in rows] == [i != number for i in range(len(rows))]
    start = page.elements.index(("details", rows[number]))
    end = page.elements.index(("details", rows[number + 1]))
    inside = [a for _, a in page.elements[start:end] if a.get("class") == "utterance"]
    return [a for a in inside if "hidden" not in a]


def test_no_markup_in_data_runs_in_a_browser(hostile, tmp_path):
    page = browse(hostile, "row=0&show=wrong", tmp_path)
    assert page.title == "Results: recipe"
    assert len(of_row(page, 0)) == 20  # our own script has run


def test_a_view_is_filtered_sorted_and_compared_with_another_row(written, tmp_path):
    page = browse(written["out"] / "report.html", "row=1&other=0&show=alone&order=length", tmp_path)
    chosen = of_row(page, 1)
    right = []
    for experiment in ("atat", "e2e"):
        path = written["expdir"] / experiment / "decode_test" / "hyp.jsonl"
        right.append([json.loads(line)["em_hyp"] for line in path.open()])
    alone = sum(ours and not theirs for ours, theirs in zip(*right, strict=True))
    # All of them are among the 20 right ones that are shown.
    assert 0 < alone <= 20 and len(chosen) == alone
    assert all(a["data-right"] == "1" and "0" in a["data-wrong-in"].split() for a in chosen)
    lengths = [int(a["data-length"]) for a in chosen]
    assert lengths == sorted(lengths, reverse=True) and lengths[0] > lengths[-1]


# A table of one column, as far as sorting it asks for one.
TABLE = """
const element = (textContent) => ({
  textContent, replaceChildren() {}, getAttribute: () => null, setAttribute() {},
  removeAttribute() {}, addEventListener(_, click) { this.click = click; },
});
const rows = data.cells.map((cell) => ({ cells: [element(cell)] }));
const button = element("");
let sorted;
const table = {
  tBodies: [{ rows, append: (...all) => { sorted = all.map((row) => row.cells[0].textContent); } }],
  querySelectorAll: () => [element("p")],
};
globalThis.document = {
  getElementById: () => null,
  createElement: () => button,
  querySelectorAll: (selector) => (selector === "table.data" ? [table] : []),
};
new Function(data.script)();
button.click();
return sorted;
"""


def test_a_p_below_all_others_is_sorted_as_the_smallest(tmp_path):
    script = Path(report_page.__file__).parent / "templates" / "report.js"
    data = {"cells": ["0.5", "< 0.001", "", "0.001", "1,200"], "script": script.read_text()}
    found = javascript(tmp_path / "node", TABLE, data)
    assert found == ["< 0.001", "0.001", "0.5", "1,200", ""]


def test_a_search_keeps_what_has_all_its_words(written, tmp_path):
    page = browse(written["out"] / "report.html", "row=0&show=wrong&search=TIMER+twenty", tmp_path)
    path = written["expdir"] / "e2e" / "decode_test" / "hyp.jsonl"
    wrong = [line for line in map(json.loads, path.open()) if not line["em_hyp"]]
    expected = [x for x in wrong if "imer" in x["reference"] and "twenty" in x["reference"]]
    assert len(of_row(page, 0)) == len(expected) > 0


def test_what_was_wrong_is_red_and_struck_and_what_was_expected_green_and_underlined(written):
    text = (written["out"] / "report.html").read_text()
    style = text[text.index("<style>") : text.index("</style>")]
    assert re.search(r"\nins \{[^}]*--right\)[^}]*text-decoration: underline", style)
    assert re.search(r"\ndel \{[^}]*--wrong\)[^}]*text-decoration: line-through", style)
    marked = set()
    for expected, understood in re.findall(
        r"<dt>expected</dt>(.*?)<dt>understood</dt>(.*?)</dd>", text, re.DOTALL
    ):
        assert "<del" not in expected and "<ins" not in understood
        marked |= {"ins"} if "<ins" in expected else set()
        marked |= {"del"} if "<del" in understood else set()
    assert marked == {"ins", "del"}


def test_right_utterances_are_shown_too_and_how_many_there_are(written):
    text = (written["out"] / "report.html").read_text()
    section = text.split('<details class="row"')[2]
    scores = json.loads((written["expdir"] / "atat/decode_test/scores.json").read_text())["em_hyp"]
    wrong = scores["n"] - scores["k"]
    assert re.search(rf"{wrong} of {wrong} wrong,\s+20 of {scores['k']} right", section)
    assert section.count('class="utterance" data-place') == wrong + 20
    assert section.count("<dt>as expected</dt>") == 20


def test_a_page_that_would_be_too_large_leaves_out_utterances_and_says_so(
    recipe, tmp_path, monkeypatch
):
    monkeypatch.setattr(report_page, "MAX_CHARACTERS", 20_000)
    run_report(recipe | {"out": tmp_path}, monkeypatch)
    text = (tmp_path / "report.html").read_text()
    (num,) = re.findall(r"The page holds no more text: (\d+) utterances are left out", text)
    whole = (recipe["out"] / "report.html").read_text()
    shown = [one.count('class="utterance" data-place') for one in (text, whole)]
    assert 0 < shown[0] == shown[1] - int(num)
    assert "holds no more text" not in whole


def test_what_could_be_shown_too_is_said_with_the_command_that_makes_it(written, hostile):
    text = (written["out"] / "report.html").read_text()
    assert "confidence (<code>./run.sh --stage 5 --set decode.confidence=true</code>)" in text
    assert "the n best (<code>./run.sh --stage 5 --set decode.nbest=5</code>)" in text
    assert "atat.align" not in text  # no recording is there that words could stand under
    assert "the n best (" not in hostile.read_text()


def test_many_rows_share_the_room_of_a_page(recipe, monkeypatch):
    monkeypatch.setattr(report_page, "MAX_UTTERANCES", 30)
    loaded = load(recipe)
    answers = Answers(loaded)
    builder = report_page.Builder(loaded, answers, Recordings(recipe["out"]), 50, 20)
    sections = [builder.section(number) for number in range(len(answers.rows))]
    assert len(sections) == 5 and all(0 < len(one.shown) <= 6 for one in sections)


def test_confusion_counts_intents_and_malformed_ones():
    lines = [
        {"reference": f"{a}( )a".replace(")a", f"){a}"), "hypothesis": b, "em_hyp": False}
        for a, b in [
            ("go", "stop( )stop"),
            ("go", "go("),
            ("go", "go( )go"),
            ("fine", "fine( )fine"),
        ]
    ]
    confusion = report_page.confusion_of(lines)
    assert confusion.rows == ["go"]
    assert confusion.columns == ["go", "stop", report_page.MALFORMED]
    assert confusion.counts == {
        ("go", "stop"): 1,
        ("go", report_page.MALFORMED): 1,
        ("go", "go"): 1,
    }
    assert confusion.shade("go", "stop") == pytest.approx(1 / 3)
