"""Recordings and spectrograms of the page."""

import base64
import functools
import io
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
import soundfile
from matplotlib.image import imread

from atat.data import audio_segment, ctm, kaldi_dir
from atat.evaluation.report_page import Builder
from atat.evaluation.report_recordings import MAX_SPECTROGRAMS, Player, Recordings
from atat.evaluation.report_utterances import Answers
from tests.made_up_recipe import ROOMS, Page, load, make_recipe, run_report

SPOKEN = ("lights", "on", "off", "in", "the", *ROOMS, "timer", "for", "five", "ten", "twenty")
SPOKEN += ("please", "stop")  # fmt: skip


def players(page: Page) -> tuple[list[str], list[str]]:
    """Sources of recordings, and numbers of those that have theirs elsewhere in the page."""
    audio = [attributes for tag, attributes in page.elements if tag == "audio"]
    return [a["src"] for a in audio if "src" in a], [
        a["data-same"] for a in audio if "src" not in a
    ]


@pytest.fixture(scope="module")
def spoken(tmp_path_factory) -> dict[str, Path]:
    """A recipe whose utterances are tones of a quarter of a second a word, aligned; its report."""
    paths = make_recipe(tmp_path_factory.mktemp("spoken") / "recipe", num_utterances=24)
    held = kaldi_dir.read(paths["data"] / "test")
    aligned = []
    for number, (key, wav) in enumerate(held.wav_scp.items()):
        said = held.text[key].split()
        time = np.arange(4000 * len(said)) / 16000
        Path(wav).parent.mkdir(exist_ok=True)
        soundfile.write(wav, 0.3 * np.sin(2 * np.pi * (200 + 10 * number) * time), 16000)
        aligned.append((key, [ctm.Word(word, 0.25 * i, 0.25) for i, word in enumerate(said)]))
    ctm.write(paths["data"] / "test" / "ctm", aligned)
    with pytest.MonkeyPatch.context() as patch:
        run_report(paths, patch)
    return paths


def test_recordings_are_linked_relative_to_the_page(written):
    from urllib.parse import unquote

    page = Page((written["out"] / "report.html").read_text())
    sources = players(page)[0]
    assert sources
    # They are not there, so they cannot be part of the page.
    wavs = set(kaldi_dir.read(written["data"] / "test").wav_scp.values())
    for source in sources:
        assert re.fullmatch(r"[\w./%-]+", source)
        path = (written["out"] / unquote(source)).resolve()
        assert str(path) in {str(Path(wav).resolve()) for wav in wavs}


def test_recordings_are_part_of_the_page_so_that_it_can_be_moved(spoken):
    page = Page((spoken["out"] / "report.html").read_text())
    sources = players(page)[0]
    assert sources and all(source.startswith("data:audio/mpeg;base64,") for source in sources)
    samples, rate = soundfile.read(io.BytesIO(base64.b64decode(sources[0].partition(",")[2])))
    assert rate == 16000 and 8000 <= len(samples) < 40000
    assert abs(samples[3000:6000]).max() == pytest.approx(0.3, abs=0.03)


def test_a_recording_is_in_the_page_once_however_many_rows_have_it(spoken):
    page = Page((spoken["out"] / "report.html").read_text())
    sources, repeated = players(page)
    assert len(set(sources)) == len(sources) and repeated
    numbers = {a["id"] for tag, a in page.elements if tag == "audio" and "id" in a}
    assert {f"recording-{number}" for number in repeated} <= numbers


def test_what_the_page_has_no_room_for_is_linked_and_that_is_said(spoken, tmp_path, monkeypatch):
    paths = [str(tmp_path / f"{i}.wav") for i in range(3)]
    for path in paths:
        soundfile.write(path, np.random.default_rng(0).normal(0, 0.1, 16000), 16000)
    one = len(Recordings(tmp_path).player(paths[0]).source)
    recordings = Recordings(tmp_path / "out", int(2.5 * one))
    kinds = [recordings.player(path).source[:10] for path in paths]
    assert kinds == ["data:audio", "data:audio", "../2.wav"] and recordings.num_linked == 1
    assert recordings.player(paths[2]) == Player(2, None) and recordings.num_linked == 1
    assert Recordings(tmp_path).player(str(tmp_path / "none.wav")) == Player(0, "none.wav")
    monkeypatch.setattr(
        Recordings, "__init__", functools.partialmethod(Recordings.__init__, max_bytes=9)
    )
    run_report(spoken | {"out": tmp_path / "out"}, monkeypatch)
    text = (tmp_path / "out" / "report.html").read_text()
    num = len(players(Page(text))[0])
    assert f"The page holds no more recordings: {num} are links" in text
    assert "no more recordings" not in (spoken["out"] / "report.html").read_text()


def test_words_stand_under_a_spectrogram_where_they_are_said(spoken):
    text = (spoken["out"] / "report.html").read_text()
    figures = re.findall(r"<figure.*?</figure>", text, re.DOTALL)
    assert 0 < len(figures) <= MAX_SPECTROGRAMS
    assert "atat.align" not in text  # where there is nothing to add
    for figure in figures:
        seconds = float(re.search(r'data-seconds="([\d.]+)"', figure)[1])
        png = base64.b64decode(re.search(r"data:image/png;base64,([^\"]+)", figure)[1])
        assert imread(io.BytesIO(png)).shape[:2] == (80, round(100 * seconds) - 2)
        starts = re.findall(r'left: ([\d.]+)%; width: ([\d.]+)%">(\w+)</button>', figure)
        for i, (start, width, word) in enumerate(starts):
            assert float(start) == pytest.approx(100 * 0.25 * i / seconds, abs=0.01)
            assert float(width) == pytest.approx(100 * 0.25 / seconds, abs=0.01)
            assert word in SPOKEN


def test_a_tone_is_bright_at_its_height(tmp_path):
    time = np.arange(16000) / 16000
    soundfile.write(tmp_path / "a.wav", 0.3 * np.sin(2 * np.pi * 300 * time), 16000)
    picture = Recordings(tmp_path).spectrogram(str(tmp_path / "a.wav"), [])
    image = imread(io.BytesIO(base64.b64decode(picture.png)))[..., :3].sum(-1)
    brightest = image.mean(1).argmax()
    assert 60 < brightest < 75  # the lowest frequency is the last line, and 300 Hz in bin 10 of 80
    assert Recordings(tmp_path).spectrogram(str(tmp_path / "none.wav"), []) is None


def test_an_alignment_of_other_words_is_left_out_and_that_is_said(spoken, tmp_path, capsys):
    root = shutil.copytree(spoken["tables"].parent, tmp_path / "copy")
    (root / "data" / "test" / "ctm").write_text("s00-0000 1 0.0 0.5 elsewhere\n")
    loaded = load({key: root / path.name for key, path in spoken.items()})
    answers = Answers(loaded)
    builder = Builder(loaded, answers, Recordings(tmp_path), 2, 2)
    assert not any(one.spectrogram.words for one in builder.section(0).shown if one.spectrogram)
    assert not builder.is_aligned
    said = capsys.readouterr().err
    assert "no words under spectrograms" in said and "ctm" in said


@pytest.mark.supports("Kaldi files", "segments in the report", "the part is heard")
def test_a_part_of_a_recording_is_a_sound_of_its_length_or_a_link_that_names_it(tmp_path):
    call = tmp_path / "a call.flac"
    soundfile.write(call, 0.1 * np.sin(np.arange(80000) / 5), 16000)
    part = audio_segment.join(str(call), "1", "1.5")
    whole, short = (Recordings(tmp_path).player(p).source for p in (str(call), part))
    assert short.startswith("data:audio/mpeg;base64,") and len(short) < 0.3 * len(whole)
    assert Recordings(tmp_path, max_bytes=0).player(part).source == "a%20call.flac#t=1,1.5"
    assert Recordings(tmp_path, max_bytes=0).player(str(call)).source == "a%20call.flac"
