#!/usr/bin/env python3
"""Draw docs/model.svg: what the data are, and how they go through the model.

tools/draw_model.py > docs/model.svg
"""

from html import escape

WIDTH, HEIGHT = 1000, 640
INK, GREY, WHITE = "#1f2937", "#6b7280", "#ffffff"
SPEECH, TEXT, SHARED, OUT = "#dbeafe", "#dcfce7", "#fde68a", "#f3e8ff"
STYLE = f"""text {{ font: 15px system-ui, 'DejaVu Sans', Arial, sans-serif; fill: {INK}; }}
.small {{ font-size: 13px; fill: {GREY}; }}
.head {{ font-size: 17px; font-weight: 600; }}
.mono {{ font: 13px ui-monospace, 'DejaVu Sans Mono', monospace; }}"""

parts: list[str] = []


def label(x: float, y: float, text: str, kind: str = "", anchor: str = "start") -> None:
    """Text whose baseline begins, or is centred (`anchor` middle), at a point."""
    place = f'x="{x}" y="{y}" class="{kind}" text-anchor="{anchor}"'
    parts.append(f"<text {place}>{escape(text)}</text>")


def box(x: float, y: float, width: float, height: float, fill: str, *lines: str) -> None:
    """A rectangle with a title and small lines below it, centred."""
    parts.append(
        f'<rect x="{x}" y="{y}" width="{width}" height="{height}" rx="8" fill="{fill}" '
        f'stroke="{INK}" stroke-width="1.2"/>'
    )
    first = y + height / 2 - 9 * (len(lines) - 1) + 5
    for number, line in enumerate(lines):
        label(x + width / 2, first + 18 * number, line, "small" if number else "", "middle")


def arrow(*points: tuple[float, float], dashed: bool = False) -> None:
    """A line through points, with a head at the last."""
    path = " ".join(f"{x},{y}" for x, y in points)
    dash = ' stroke-dasharray="5 4"' if dashed else ""
    parts.append(
        f'<polyline points="{path}" fill="none" stroke="{INK}" stroke-width="1.4"{dash} '
        'marker-end="url(#head)"/>'
    )


def draw_data() -> None:
    """From a grammar or a corpus to the three kinds of training data."""
    label(24, 40, "Data", "head")
    box(24, 60, 150, 66, WHITE, "a grammar", "(YAML, yours)")
    box(24, 146, 150, 66, WHITE, "or a corpus", "(recorded or text)")
    box(226, 60, 170, 66, WHITE, "sentences", "with intents and slots")
    box(226, 146, 170, 66, WHITE, "synthesisers", "voices, rates, pauses")
    arrow((174, 93), (226, 93))
    arrow((311, 126), (311, 146))
    arrow((174, 190), (200, 190), (200, 228), (452, 228))
    arrow((396, 93), (452, 93))
    arrow((396, 179), (452, 179))
    kinds = [
        (60, TEXT, "text + semantics", "<nlu>"),
        (122, SPEECH, "speech + semantics", "<slu>"),
        (184, SPEECH, "speech + text", "<asr>, and <mlm> with words masked"),
    ]
    for y, fill, title, tasks in kinds:
        box(452, y, 268, 52, fill, title, tasks)
    label(748, 92, "one batch mixes rows of all", "small")
    label(748, 110, "kinds; the decoder's first", "small")
    label(748, 128, "token says the task", "small")
    label(748, 172, "valid and test: voices, speakers", "small")
    label(748, 190, "or sentences not in training", "small")


def draw_model() -> None:
    """From speech or text to words or meaning."""
    label(24, 304, "Model", "head")
    box(24, 322, 110, 60, SPEECH, "speech", "log mel, 10 ms")
    box(24, 470, 110, 60, TEXT, "text", "words")
    box(176, 322, 168, 60, SPEECH, "Whisper's encoder", "frozen; may be left out")
    box(386, 322, 160, 60, SPEECH, "speech encoder", "Conformer, Transformer")
    box(386, 396, 160, 44, SPEECH, "CTC", "words, per frame")
    box(386, 470, 160, 60, TEXT, "text encoder", "Transformer or BERT")
    box(606, 366, 150, 120, SHARED, "one decoder", "shared by all", "tasks; beam search")
    arrow((134, 352), (176, 352))
    arrow((344, 352), (386, 352))
    arrow((134, 500), (386, 500))
    arrow((546, 352), (580, 352), (580, 396), (606, 396))
    arrow((546, 500), (580, 500), (580, 456), (606, 456))
    arrow((466, 382), (466, 396))
    arrow((546, 418), (606, 418), dashed=True)
    arrow((466, 440), (466, 470), dashed=True)
    label(24, 452, "dashed: not in the paper", "small")
    box(816, 322, 160, 60, OUT, "<asr>, <mlm>", "words")
    box(816, 470, 160, 60, OUT, "<slu>, <nlu>", "tagged words")
    arrow((756, 396), (786, 396), (786, 352), (816, 352))
    arrow((756, 456), (786, 456), (786, 500), (816, 500))
    arrow((896, 530), (896, 560))
    semantics = "turnOnLight( turn on the lights in the room( kitchen )room )turnOnLight"
    label(24, 585, semantics, "mono")
    box(700, 560, 276, 56, OUT, "turnOnLight, room = kitchen", "with a confidence; or a refusal")
    arrow((604, 581), (700, 581))


def main() -> None:
    draw_data()
    draw_model()
    print(
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" '
        f'aria-label="Data and model of AT-AT">\n<style>{STYLE}</style>\n'
        '<defs><marker id="head" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" '
        'markerHeight="7" orient="auto">'
        f'<path d="M0,0 L8,4 L0,8 z" fill="{INK}"/></marker></defs>\n'
        f'<rect width="{WIDTH}" height="{HEIGHT}" rx="12" fill="{WHITE}"/>\n'
        f'<line x1="24" y1="266" x2="976" y2="266" stroke="{GREY}" stroke-width="0.6"/>'
    )
    print("\n".join(parts))
    print("</svg>")


if __name__ == "__main__":
    main()
