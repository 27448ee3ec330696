"""Small corpora of trees in the three layouts."""

from atat.data import kaldi_dir
from atat.prepare import top_format

ROWS = [  # domain, utterance, tree
    (
        "event",
        "What's on, tomorrow's or 5:30 PM?",
        "[IN:GET_EVENT What 's on , [SL:DATE_TIME tomorrow ] 's or [SL:DATE_TIME 5:30 PM ] ? ]",
    ),
    (
        "navigation",
        "Don't take the kids' road",
        "[IN:UPDATE_DIRECTIONS Do n't take [SL:PATH_AVOID the kids ' road ] ]",
    ),
    ("alarm", "wake me (up)", "[IN:CREATE_ALARM wake me ( up ) ]"),
    ("weather", "will it snow", "[IN:UNSUPPORTED_WEATHER will it snow ]"),
]


def write_top(root, rows=ROWS):
    root.mkdir(exist_ok=True)
    text = "".join(f"{said}\t{said}\t{tree}\n" for _, said, tree in rows)
    for split in top_format.SPLITS:
        (root / f"{split}.tsv").write_text(text, encoding="utf-8")
    return root


def write_topv2(root, rows=ROWS):
    root.mkdir(exist_ok=True)
    for split in top_format.SPLITS:
        for domain in {row[0] for row in rows}:
            lines = ["\t".join(row) for row in rows if row[0] == domain]
            text = "\n".join(["\t".join(top_format.TOPV2_COLUMNS), *lines]) + "\n"
            (root / f"{domain}_{split}.tsv").write_text(text, encoding="utf-8")
    return root


def write_stop(root, rows=ROWS, with_audio=True):
    """STOP's layout; as there, eval and test say a folder that the disk calls otherwise."""
    (root / "stop" / "manifests").mkdir(parents=True)
    header = "file_id domain gender native utterance seqlogical normalized_utterance"
    header = [*header.split(), "normalized_seqlogical", "decoupled_normalized_seqlogical"]
    for split in top_format.SPLITS:
        lines = ["\t".join(header)]
        for number, (domain, said, tree) in enumerate(rows):
            place = f"{domain}_{split}/{number:08d}.wav"
            folder = split if split == "train" else f"{split}_0"
            lines.append(
                "\t".join([f"{folder}/{place}", domain, "f", "yes", "?", "?", said, tree, "?"])
            )
            if with_audio:
                wav = root / "stop" / split / place
                wav.parent.mkdir(parents=True, exist_ok=True)
                wav.write_bytes(b"RIFF")
        (root / "stop" / "manifests" / f"{split}.tsv").write_text("\n".join(lines) + "\n")
    return root


PLACES = ("rome", "oslo", "the beach", "my sister 's house")
MORE_ROWS = [
    *(
        (
            "navigation",
            f"how far is {place}".replace(" 's", "'s"),
            f"[IN:GET_DISTANCE how far is [SL:DESTINATION {place} ] ]",
        )
        for place in PLACES
    ),
    ("event", "any concerts", "[IN:GET_EVENT any [SL:CATEGORY_EVENT concerts ] ]"),
    ("event", "who is famous", "[IN:UNSUPPORTED_EVENT who is famous ]"),
    ("alarm", "wake me at six", "[IN:CREATE_ALARM wake me [SL:DATE_TIME at six ] ]"),
    ("weather", "is it cold", "[IN:GET_WEATHER is it [SL:WEATHER_ATTRIBUTE cold ] ]"),
]


def splits(tmp_path):
    return {
        split: kaldi_dir.read(tmp_path / "data" / split)
        for split in kaldi_dir.splits(tmp_path / "data")
    }
