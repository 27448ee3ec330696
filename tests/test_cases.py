"""The files of users that once failed, where they are at hand; tests beside the readers make such
files themselves."""

import warnings
from pathlib import Path

import pytest

from atat.data import active_speech, audio, kaldi_dir
from atat.data.audio_headers import AudioWarning
from atat.grammar import sentence_splits
from atat.grammar.grammar import Grammar
from atat.semantics import target_sequence

CASES = Path(__file__).parents[2] / "shared" / "cases"
pytestmark = pytest.mark.skipif(not CASES.is_dir(), reason="the cases of users are not here")

SECONDS = {
    "mp3/refused1.mp3": 2.31,
    "mp3/cut1.mp3": 3.31,
    "mp3/cut1_with_xing.mp3": 3.26,  # says how much of it is the encoder's delay
    "mp3/plain.mp3": 2.45,
    "mp3/id3v2.mp3": 2.45,
    "gsm_wav/voicemail.wav": 2.0,
    "dc_offset/0.wav": 6.39,
}


@pytest.mark.parametrize("name", SECONDS)
def test_audio_is_read_to_its_end(name):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        samples_N = audio.read(CASES / name)
    assert len(samples_N) / 16000 == pytest.approx(SECONDS[name], abs=0.005)


def test_a_header_that_promises_nothing_is_read_with_a_warning():
    with pytest.warns(AudioWarning, match="promises 0 bytes"):
        samples_N = audio.read(CASES / "wav_headers" / "stream_zero.wav")
    assert len(samples_N) == 16000


def test_channels_of_opposite_phase_are_named():
    with pytest.raises(ValueError, match=r"opp\.wav: no speech: its channels cancel"):
        audio.read(CASES / "wav_headers" / "opp.wav")


@pytest.mark.parametrize("name", ["bom_rec", "crlf_rec", "crlf_rec2", "tab_rec"])
def test_kaldi_files_of_other_programs_are_read_as_they_are_meant(name):
    data = kaldi_dir.read(CASES / "kaldi_text" / name)
    assert data.wav_scp["rec1"] == "a.wav"
    assert data.semantics["rec1"] == "turnOnLight( room( kitchen )room )turnOnLight"


def test_segments_and_capitals_are_read():
    data = kaldi_dir.read(CASES / "kaldi_text" / "segments" / "segments")
    assert data.wav_scp["spk1-rec1-001"] == "/a/rec1.wav#t=1.2,2.5"
    data = kaldi_dir.read(CASES / "uppercase_text" / "upper")
    assert data.text == {"a": "turn on"} and data.semantics == {"a": "on( turn on )on"}


@pytest.mark.parametrize("number", [0, 1])
def test_speech_is_found_between_seconds_of_silence(number):
    padded, plain = (
        audio.read(CASES / "silence_around" / f"{number}{name}.wav") for name in ("", "_plain")
    )
    start, end = active_speech.active_range(padded, 16000, 35.0)
    before = (len(padded) - len(plain)) // 2  # as long as what follows
    assert start < before and end > before + 0.9 * len(plain)
    assert end - start < len(plain) + 0.5 * 16000  # the padding of both ends


@pytest.mark.parametrize(
    ("name", "count"),
    [("builtin_numbers/timer", 201), ("heldout_words/call", 8), ("tiny_grammar/memo", 10)],
)
def test_a_grammar_has_all_its_sentences_and_all_are_trained(name, count):
    grammar = Grammar.load(CASES / f"{name}.yaml")
    assert grammar.count() == count
    wanted = {"test": 8, "valid": 8, "train": 300, "train_text": 300}
    drawn = sentence_splits.split(grammar, wanted, seed=1).sequences
    words = {w for s in grammar.automaton(with_tags=False).arcs for w in s}
    for split in ("train", "train_text"):
        assert {w for s in drawn[split] for w in target_sequence.words(s).split()} >= words, split


@pytest.mark.parametrize("part", ["2.9,3.3", "2.0,3.3"])
def test_a_part_at_the_end_of_an_mp3_is_there(part):
    start, end = map(float, part.split(","))
    assert len(audio.read(f"{CASES / 'mp3' / 'cut1.mp3'}#t={part}")) == round(16000 * (end - start))


def test_a_part_of_a_voicemail_is_read():
    part = audio.read(f"{CASES / 'gsm_wav' / 'voicemail.wav'}#t=0.5,1.5")
    whole = audio.read(CASES / "gsm_wav" / "voicemail.wav")
    assert len(part) == 16000 and abs(part - whole[8000:24000]).max() < 0.01
