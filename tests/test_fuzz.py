"""tools/fuzz: a short run over all parsers, and what the fuzzer itself finds and keeps."""

import json
import os
import random
import subprocess
import sys
from pathlib import Path

import pytest

from tools.fuzz import mutations, sandbox, toy_model
from tools.fuzz.parsers import TARGETS, load_all

ROOT = Path(__file__).resolve().parents[1]
# Their library is loaded for seconds; the tests of their modules have damaged files.
OF_TORCH = {"model_pth", "model_safetensors"}
SLOW = {"settings", "override", "experiment_config", "experiment_tables"}  # OmegaConf's merging
SLOW |= {"onnx_speech", "onnx_text", "onnx_memory", "onnx_step"}


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    directory = tmp_path_factory.mktemp("models")
    toy_model.make(directory)
    return directory


def fuzz(*arguments, models=None, limit_s="5"):
    environment = os.environ | {"PYTHONPATH": str(ROOT), "ATAT_FUZZ_CPU_S": limit_s}
    command = [sys.executable, "-m", "tools.fuzz", *map(str, arguments)]
    command += [] if models is None else ["--models", str(models)]
    return subprocess.run(
        command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=280
    )


@pytest.mark.parametrize(("are_slow", "num"), [(False, 100), (True, 10)])
def test_hostile_input_is_accepted_or_refused_as_documented(models, are_slow, num):
    names = {line.split()[0] for line in fuzz("--list").stdout.splitlines()} - OF_TORCH
    chosen = sorted(names & SLOW if are_slow else names - SLOW)
    done = fuzz("--quick", "--num", num, "--parsers", ",".join(chosen), models=models)
    assert done.returncode == 0, done.stdout + done.stderr
    rows = {line.split()[0]: line.split() for line in done.stdout.splitlines()[2:]}
    assert rows.keys() == set(chosen)
    for _, inputs, accepted, refused, *_, crashes in rows.values():
        assert int(inputs) == int(accepted) + int(refused) == num and crashes == "0"


NAUGHTY = ("--targets", "tests.naughty_parsers", "--num", 20)


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("raises_key_error", "KeyError at"),
        ("names_no_file", "ValueError that names no file"),
        ("recurs", "RecursionError at"),
        ("takes_memory", "MemoryError at"),
        ("writes_elsewhere", "forbidden: writes "),
        ("reads_elsewhere", "forbidden: reads /etc/passwd"),
        ("runs_a_program", "forbidden: subprocess.Popen"),
        ("unpickles", "forbidden: pickle.find_class"),
        ("calls_home", "forbidden: socket."),
    ],
)
def test_what_no_parser_may_do_is_a_crash(naughty, name, said):
    assert said in naughty[name]


@pytest.fixture(scope="module")
def naughty():
    """Parser -> what a quick run says of it."""
    names = ["raises_key_error", "names_no_file", "recurs", "takes_memory", "writes_elsewhere"]
    names += ["reads_elsewhere", "runs_a_program", "unpickles", "calls_home", "refuses"]
    done = fuzz("--quick", *NAUGHTY, "--parsers", ",".join(names))
    assert done.returncode == 1, done.stderr
    lines = done.stdout.splitlines()
    (row,) = [line.split() for line in lines if line.startswith("refuses ")]
    assert int(row[2]) > 0 < int(row[3]) and row[-1] == "0"  # accepted, refused, crashes
    return dict(line.split(": ", 1) for line in lines if " x " in line)


def test_crashes_are_kept_with_the_command_that_repeats_them(tmp_path):
    arguments = (*NAUGHTY, "--parsers", "dies,takes_time", "--jobs", 1, "--out", tmp_path)
    done = fuzz(*arguments[:2], "--num", 4, *arguments[4:], limit_s="0.05")
    assert done.returncode == 1 and "SIGSEGV at process" in done.stdout, done.stdout + done.stderr
    assert "TimeIsUp at" in done.stdout
    saved = json.loads((tmp_path / "dies.json").read_text())
    tally = saved["tally"]
    assert tally["inputs"] == 4 == sum(tally["crashes"].values()) + tally["accepted"]
    (path,) = saved["files"].values()
    assert Path(path).read_bytes() == b"bad" and f"--repeat {path}" in done.stdout
    again = fuzz("--targets", "tests.naughty_parsers", "--repeat", path)
    assert again.returncode == -11
    # What is done is done: the counts are read, and nothing is parsed again.
    quick = fuzz(*arguments[:2], "--num", 4, *arguments[4:])
    assert quick.stdout.splitlines()[2:4] == done.stdout.splitlines()[2:4]


def test_a_parser_that_refuses_its_own_seeds_is_no_target():
    done = fuzz("--quick", *NAUGHTY, "--parsers", "refuses_its_seed")
    assert done.returncode == 1 and "refuses_its_seed: seed 0 is refused" in done.stderr


def test_a_parser_that_is_none_is_one_line():
    done = fuzz("--parsers", "no_such")
    assert done.returncode == 2 and "--parsers: got 'no_such', expected some of" in done.stderr
    assert done.stderr.count("\n") == 1


def test_an_input_follows_from_its_number_and_most_differ():
    parser = load_all(TARGETS)["tree"]
    ready = parser.prepare(Path())
    inputs = [sandbox.drawn(parser, ready, 1, index) for index in range(200)]
    assert inputs == [sandbox.drawn(parser, ready, 1, index) for index in range(200)]
    assert len(set(inputs)) > 160
    assert inputs != [sandbox.drawn(parser, ready, 2, index) for index in range(200)]
    assert max(map(len, inputs)) <= mutations.BLOWN_UP_BYTES


def test_values_are_exchanged_in_json_that_stays_json():
    seeds = [b'{"a": [1, {"b": "c"}], "d": null}', b'{"a": 1}\nbytes\n{"b": 2}']
    draw = random.Random(1)
    made = [mutations.json_mutated(draw, seeds[:1]) for _ in range(300)]
    parsed = 0
    for one in made:
        try:
            json.loads(one)
            parsed += 1
        except (ValueError, RecursionError):
            pass
    assert parsed > 150 and len(set(made)) > 200
    assert any(b"bytes" in mutations.json_mutated(draw, seeds[1:]) for _ in range(20))


def test_a_crash_is_shrunk_to_what_makes_it():
    assert sandbox.shrunk(b"x" * 1000 + b"!" + b"y" * 77, lambda data: b"!" in data) == b"!"
