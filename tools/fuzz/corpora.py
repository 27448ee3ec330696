"""Kaldi's files, and the corpora that others publish."""

import contextlib
import io
import json
from collections.abc import Callable
from pathlib import Path

from tools.fuzz.mutations import json_mutated
from tools.fuzz.parsers import Prepared, of_file, parser

TREE = "GetEvent( any AttributeEvent( kids )AttributeEvent events )GetEvent"
KALDI = {
    "wav.scp": "anna-1 /data/1.wav\nanna-2 /data/2.flac\nbob-1 some where/3.ogg\n",
    "text": "anna-1 any kids events\nanna-2 caf\u00e9 don't\nbob-1 a b\n",
    "semantics": f"anna-1 {TREE}\nanna-2 go( caf\u00e9 to( don't )to )go\nbob-1 a( a b( b )b )a\n",
    "utt2spk": "anna-1 anna\nanna-2 anna\nbob-1 bob\n",
    "spk2utt": "anna anna-1 anna-2\nbob bob-1\n",
}
SEGMENTS = "anna-1 anna-1 0.5 1.25\nanna-2 bob-1 0 3\nbob-1 bob-1 3.00 4.5\n"


def _kaldi(directory: Path, name: str, content: str) -> Prepared:
    """One file of a split whose others are right."""
    from atat.data import kaldi_dir

    split = directory / "split"
    split.mkdir(parents=True, exist_ok=True)
    for other, text in KALDI.items():
        (split / other).write_text(text, encoding="utf-8")

    def read(path: Path) -> None:
        data = kaldi_dir.read(split)
        for value in (data.wav_scp or {}).values():
            assert not value.endswith("|") and not value.startswith("|"), value  # no commands

    return of_file(split / name, [content], read, "split")


@parser(words="anna-1 anna-2 bob-1 a( )a ( )")
def kaldi_text(directory: Path) -> Prepared:
    """Words of utterances."""
    return _kaldi(directory, "text", KALDI["text"])


@parser(words="anna-1 anna-2 bob-1 a( )a ( ) go( )go")
def kaldi_semantics(directory: Path) -> Prepared:
    """Target sequences of utterances."""
    return _kaldi(directory, "semantics", KALDI["semantics"])


@parser(words="anna-1 anna-2 bob-1 | - cat sox sph2pipe a.ark:12 a.ark:12[0:3] #t=1,2")
def kaldi_wav_scp(directory: Path) -> Prepared:
    """Paths of recordings; commands among them are refused."""
    return _kaldi(directory, "wav.scp", KALDI["wav.scp"])


@parser(words="anna-1 anna-2 bob-1 0 -1 1e3 nan 0.5")
def kaldi_segments(directory: Path) -> Prepared:
    """Parts of recordings."""
    return _kaldi(directory, "segments", SEGMENTS)


@parser(words="anna-1 anna-2 bob-1 anna bob")
def kaldi_utt2spk(directory: Path) -> Prepared:
    """Speakers."""
    return _kaldi(directory, "utt2spk", KALDI["utt2spk"])


@parser(words="anna-1 anna-2 <eps> <unk> ;; 1 0.25 any kids")
def ctm(directory: Path) -> Prepared:
    """Word alignments."""
    from atat.data import ctm as alignments

    texts = {"anna-1": "any kids events", "anna-2": "a b"}
    seed = (
        ";; made by hand\nanna-1 1 0.10 0.20 any\nanna-1 1 0.3 0.2 <eps>\nanna-1 1 0.5 0.2 KIDS 0.9"
        "\nanna-1 1 0.7 0.25 <unk>\nanna-2 A 0 1 a\nanna-2 A 1.5 1 b\n"
    )
    return of_file(directory / "train.ctm", [seed], lambda path: list(alignments.read(path, texts)))


FLUENT = (
    ",path,speakerId,transcription,action,object,location\n"
    '0,wavs/speakers/a/1.wav,a,"Turn on the kitchen lights",activate,lights,kitchen\n'
    '1,wavs/speakers/b/2.wav,b,"Far, too loud!",decrease,volume,none\n'
    "2,wavs/speakers/b/3.wav,b,Heat up the bathroom,increase,heat,washroom\n"
)


@parser(
    words='path speakerId transcription action object location , " none lights kitchen washroom'
)
def fluent_speech_csv(directory: Path) -> Prepared:
    """Labels as triples."""
    from atat.prepare import fluent_speech

    def read(path: Path) -> None:
        recordings = fluent_speech.read_list(path, directory)
        for recording in recordings:
            assert ".." not in recording.wav.parts, recording.wav
        fluent_speech.sentences(fluent_speech.to_utterances(recordings, path))

    return of_file(directory / "train_data.csv", [FLUENT], read)


def _tsv(directory: Path, layout: str, name: str, content: str) -> Prepared:
    from atat.prepare import top_format

    source = top_format.Corpus(layout, directory)
    split = "train"
    return of_file(directory / name, [content], _quiet(lambda _: top_format.read(source, split)))


def _quiet(read: Callable[[Path], object]) -> Callable[[Path], object]:
    """Without what is said of rows that are left out."""

    def quietly(path: Path) -> object:
        with contextlib.redirect_stderr(io.StringIO()), contextlib.redirect_stdout(io.StringIO()):
            return read(path)

    return quietly


PARSED = "[IN:GET_EVENT Any [SL:ATTRIBUTE_EVENT kids ] events ]"


@parser(words="[IN:A [SL:B ] [IN:UNSUPPORTED kids events")
def top_tsv(directory: Path) -> Prepared:
    """Trees, without a header."""
    seed = (
        f"Any kids events\tAny kids events\t{PARSED}\nGo home\tGo home\t[IN:GO Go [SL:TO home ] ]\n"
    )
    return _tsv(directory, "TOP", "train.tsv", seed * 3)


@parser(words="domain utterance semantic_parse [IN:A [SL:B ]")
def topv2_tsv(directory: Path) -> Prepared:
    """Trees by domain."""
    seed = f"domain\tutterance\tsemantic_parse\nevent\tAny kids events\t{PARSED}\n"
    return _tsv(directory, "TOPv2", "event_train.tsv", seed + f"event\tAny kids events\t{PARSED}\n")


@parser(words="file_id domain normalized_utterance normalized_seqlogical ../ / .. train_0/a.wav")
def stop_manifest(directory: Path) -> Prepared:
    """Trees with recordings."""
    seed = (
        "file_id\tdomain\tgender\tnormalized_utterance\tnormalized_seqlogical\n"
        f"train_0/event_train/1.wav\tevent\tf\tAny kids events\t{PARSED}\n"
    )
    return _tsv(directory, "STOP", "manifests/train.tsv", seed)


@parser(draw=json_mutated)
def snips_nlu_json(directory: Path) -> Prepared:
    """Typed sentences."""
    from atat.prepare import snips_nlu

    for intent in snips_nlu.INTENTS:
        content = {intent: [{"data": [{"text": "add "}, {"text": "song", "entity": "item"}]}] * 2}
        path = directory / intent / f"train_{intent}_full.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(content))
    read = _quiet(lambda path: snips_nlu.read(directory, "train"))
    return of_file(path, [path.read_text()], read, directory.name)


LIGHTS = {
    "language": "en",
    "intents": {
        "switchLightOn": {
            "utterances": [
                {"data": [{"text": "turn on the "}, {"text": "kitchen", "slot_name": "room"}]},
                {"data": [{"text": "Lights on, please!"}]},
            ]
        },
        "switchLightOff": {"utterances": [{"data": [{"text": "off", "entity": "state"}]}]},
    },
}
SPOKEN = {
    "1": {"text": "turn on the kitchen", "filename": "audio/1.wav", "worker": {"id": 7}},
    "2": {"text": "off", "filename": "2.wav", "worker": {"id": "b c"}},
}


def _lights(directory: Path) -> Path:
    (directory / "speech_corpus").mkdir(parents=True, exist_ok=True)
    (directory / "dataset.json").write_text(json.dumps(LIGHTS))
    (directory / "speech_corpus" / "metadata.json").write_text(json.dumps(SPOKEN))
    return directory


@parser(draw=json_mutated)
def snips_lights_json(directory: Path) -> Prepared:
    """Queries with slots."""
    from atat.prepare import snips_audio

    _lights(directory)
    read = _quiet(lambda path: snips_audio.read_field(directory))
    return of_file(directory / "dataset.json", [json.dumps(LIGHTS)], read)


@parser(draw=json_mutated)
def snips_metadata_json(directory: Path) -> Prepared:
    """Recordings of queries."""
    from atat.prepare import snips_audio

    path = _lights(directory) / "speech_corpus" / "metadata.json"
    read = _quiet(lambda path: snips_audio.read_field(directory))
    return of_file(path, [json.dumps(SPOKEN)], read)


SLURP = {
    "slurp_id": 1,
    "sentence": "what's the weather in paris",
    "scenario": "weather",
    "action": "query",
    "intent": "weather_query",
    "tokens": [
        {"surface": s, "id": i}
        for i, s in enumerate(["what", "'s", "the", "weather", "in", "paris"])
    ],
    "entities": [{"span": [5], "type": "place_name"}],
    "recordings": [{"file": "audio-1.flac", "wer": 0.0}, {"file": "audio-1-headset.flac"}],
}


@parser(draw=json_mutated)
def slurp_jsonl(directory: Path) -> Prepared:
    """Sentences with spans."""
    from atat.prepare import slurp

    def read(path: Path) -> None:
        sentences = slurp.read_list(path, 0.5)
        for one in slurp.recordings(sentences, directory, {"audio-1": "u1"}):
            assert one.wav is not None and one.wav.parent == directory, one.wav
        slurp.texts(sentences)

    line = json.dumps(SLURP)
    # A recording's name is held against its directory, which no line of the file has.
    return of_file(
        directory / "train.jsonl", [f"{line}\n{line}\n", line], _quiet(read), directory.name
    )


@parser(draw=json_mutated)
def slurp_metadata_json(directory: Path) -> Prepared:
    """Who speaks."""
    from atat.prepare import slurp

    content = {"1": {"recordings": {"audio-1.flac": {"usrid": "FE-144"}, "a": {"usrid": "b c"}}}}
    return of_file(directory / "metadata.json", [json.dumps(content)], slurp.read_speakers)


@parser(draw=json_mutated)
def slurp_predictions(directory: Path) -> Prepared:
    """What another system predicted."""
    from atat.prepare import slurp_predictions as predictions

    line = {"file": "a.flac", "scenario": "weather", "action": "query"}
    lines = [line | {"entities": [{"type": "place", "filler": "paris"}]}]
    lines.append(line | {"file": "b.flac", "entities": []})
    seed = "\n".join(map(json.dumps, lines))
    return of_file(directory / "predictions.jsonl", [seed], predictions.read)
