import errno
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from atat.common import cli

REPO = Path(__file__).resolve().parents[2]


def run(main, capsys):
    """Exit code and lines on stderr of a command whose `main` this is."""
    try:
        cli.run(main)
        code = 0
    except SystemExit as e:
        code = e.code
    return code, capsys.readouterr().err.splitlines()


def raises(error):
    def main():
        raise error

    return main


def test_a_command_that_succeeds_says_nothing(capsys):
    assert run(lambda: None, capsys) == (0, [])


@pytest.mark.parametrize(
    ("error", "code", "word"),
    [
        (ValueError("text:12: id 'a'\n  is unknown"), 2, "text:12: id 'a' is unknown"),
        (FileNotFoundError("no corpus at x"), 2, "no corpus at x"),
        (FileNotFoundError(errno.ENOENT, "No such file", "/x"), 2, "/x"),
        (NotADirectoryError(errno.ENOTDIR, "Not a directory", "/x"), 2, "/x"),
        (IsADirectoryError(errno.EISDIR, "Is a directory", "/x"), 2, "/x"),
        (FileExistsError(errno.EEXIST, "File exists", "/x"), 2, "/x"),
        (PermissionError(errno.EACCES, "Permission denied", "/x"), 2, "/x"),
        (OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "/x"), 1, "disk full"),
        (OSError(errno.EIO, os.strerror(errno.EIO), "/x"), 1, "/x"),
        (MemoryError(), 1, "out of memory"),
        (KeyboardInterrupt(), 130, "interrupted"),
        (ValueError(), 2, "ValueError"),
        (ModuleNotFoundError(name="torch"), 2, "torch and ESPnet, which are not installed: pip "),
        (ModuleNotFoundError(name="fastapi"), 2, "pip install 'WHEEL[serve]'"),
    ],
)
def test_an_error_is_one_line_and_an_exit_code(capsys, error, code, word):
    got, lines = run(raises(error), capsys)
    assert got == code
    assert len(lines) == 1
    assert ": error: " in lines[0] and word in lines[0]


def test_a_message_obeys_no_terminal_and_has_an_end():
    assert cli.one_line(ValueError("a.ctm:1: got '\x1b]0;x\x07\u202e\ud800'")) == (
        r"a.ctm:1: got '\u001b]0;x\u0007\u202e\ud800'"
    )
    long = cli.one_line(ValueError("text:1: id '" + "x" * 10**6))
    assert long.startswith("text:1: id 'xxx") and long.endswith("xxx ... (1000012 characters)")
    assert len(long) < cli.MAX_MESSAGE + 40


def test_a_module_that_is_in_no_extra_is_a_bug():
    with pytest.raises(ModuleNotFoundError):
        cli.run(raises(ModuleNotFoundError(name="atat.no_such_module")))


def test_a_bug_keeps_its_traceback():
    with pytest.raises(ZeroDivisionError):
        cli.run(lambda: 1 / 0)


def test_debugging_keeps_every_traceback(monkeypatch):
    monkeypatch.setenv("ATAT_DEBUG", "1")
    with pytest.raises(ValueError, match="told"):
        cli.run(raises(ValueError("told")))


def test_a_reader_that_leaves_is_no_error():
    script = (
        "from atat.common import cli\ncli.run(lambda: [print(i, flush=True) for i in range(10**5)])"
    )
    command = subprocess.Popen(
        [sys.executable, "-c", script], stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=REPO
    )
    command.stdout.readline()
    command.stdout.close()
    errors = command.stderr.read()
    command.stderr.close()
    assert (command.wait(timeout=60), errors) == (1, b"")


@pytest.mark.parametrize("arguments", [["--nope"], [], ["--c", "x"], ["--count", "x"]])
def test_a_usage_mistake_is_one_line_and_exit_code_2(capsys, arguments):
    parser = cli.parser("Says something.")
    parser.add_argument("--count", type=cli.positive_int, required=True)
    with pytest.raises(SystemExit) as e:
        parser.parse_args(arguments)
    assert e.value.code == 2
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1 and ": error: " in lines[0]


@pytest.mark.parametrize(("given", "meant"), [("--exp", "--model"), ("--model=DIR", "--exp")])
def test_a_model_that_another_command_calls_otherwise_is_said_to_be_meant(
    capsys, monkeypatch, given, meant
):
    parser = cli.parser("Says something.")
    parser.add_argument(meant, required=True)
    monkeypatch.setattr(sys, "argv", ["command", given, "DIR"])
    with pytest.raises(SystemExit) as e:
        parser.parse_args()
    assert e.value.code == 2
    said = capsys.readouterr().err
    assert f"got {given.partition('=')[0]}, expected {meant} DIR" in said and said.count("\n") == 1


def test_help_shows_defaults(capsys):
    parser = cli.parser("Says something.")
    parser.add_argument("--count", type=int, default=41, help="how many")
    parser.add_argument("--name", help="whose")
    parser.add_argument("--size", type=int, required=True, help="how large")
    with pytest.raises(SystemExit) as e:
        parser.parse_args(["--help"])
    assert e.value.code == 0
    out = capsys.readouterr().out
    assert "Says something." in out and "how many (default: 41)" in out
    assert "(default: None)" not in out


@pytest.mark.parametrize(("text", "value"), [("true", True), ("false", False)])
def test_booleans_are_true_and_false(text, value):
    assert cli.boolean(text) is value


@pytest.mark.parametrize("text", ["True", "1", "", "yes"])
def test_nothing_else_is_a_boolean(text):
    with pytest.raises(Exception, match=f"got '{text}', expected true or false"):
        cli.boolean(text)


@pytest.mark.parametrize("text", ["0", "-1", "1.5", "", "x", "٣", "²"])
def test_a_count_is_a_whole_number_of_1_or_more(text):
    assert cli.positive_int("12") == 12
    with pytest.raises(Exception, match="expected a whole number of 1 or more"):
        cli.positive_int(text)


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "utf-8"])
def test_what_the_terminal_cannot_encode_is_escaped_as_json_does(encoding):
    """A name that is not UTF-8, or an utterance on a terminal of before it, ends no batch."""
    text = "caf\u00e9 \u65e5\u672c \U0001f600 \udcff"
    script = (
        "import json, sys; from atat.common import cli\n"
        f"def main():\n    print(json.dumps({text!r}, ensure_ascii=False))\n"
        f"    raise ValueError({text!r})\ncli.run(main)"
    )
    environment = os.environ | {"PYTHONIOENCODING": encoding, "PYTHONPATH": str(REPO)}
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, env=environment)
    assert done.returncode == 2 and len(done.stderr.splitlines()) == 1, done.stderr
    assert json.loads(done.stdout.decode(encoding)) == text


@pytest.mark.parametrize("name", ["yaml", "json", "omegaconf"])
def test_nothing_of_the_current_directory_is_run(tmp_path, name):
    (tmp_path / f"{name}.py").write_text("print('HIJACKED')")
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONSAFEPATH"}
    command = [sys.executable, "-m", "atat.inputs", "--config", str(REPO / "conf/base.yaml")]
    command += ["--tables", str(REPO / "egs/commands/tables.yaml"), "--expdir", "exp"]
    done = subprocess.run(
        command, cwd=tmp_path, capture_output=True, text=True,
        env=environment | {"PYTHONPATH": str(REPO)},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "HIJACKED" not in done.stdout + done.stderr


def test_progress_is_silent_when_stderr_is_not_a_terminal(capsys):
    assert list(cli.progress([1, 2], desc="x")) == [1, 2]
    assert capsys.readouterr().err == ""


def test_a_command_is_named_as_the_user_typed_it():
    result = subprocess.run(
        [sys.executable, "-m", "atat.inputs", "--nope"], capture_output=True, text=True, cwd=REPO
    )
    assert result.returncode == 2
    assert result.stderr.startswith("atat.inputs: error: ")


@pytest.mark.parametrize(
    "module",
    [
        "common.cli",
        "common.files",
        "config.config_file",
        "config.experiment_tables",
        "inputs",
        "semantics.target_sequence",
    ],
)
def test_what_every_command_imports_is_light(module):
    script = f"import sys, atat.{module}; print({{'torch', 'espnet2'}} & sys.modules.keys())"
    result = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, cwd=REPO, check=True
    )
    assert result.stdout.strip() == "set()"


@pytest.mark.parametrize(
    ("verb", "options"),
    [
        ("parse", ["x.wav"]),
        ("decode", ["--data", "d", "--dump", "d"]),
        ("noise_curve", ["--data", "d"]),
        ("calibrate", ["--data", "d", "--dump", "d"]),
        ("evaluate", ["--recordings", "d"]),
        ("few_shot", ["--data", "d", "--dump", "d", "--split", "test"]),
    ],
)
def test_a_missing_experiment_is_said_before_torch_is_loaded(verb, options):
    script = (
        "import sys; from atat.common import cli\n"
        f"import atat.{verb} as verb\n"
        "try: cli.run(verb.main)\n"
        "finally: print('torch' in sys.modules)"
    )
    arguments = ["--exp", "nowhere", *options]
    result = subprocess.run(
        [sys.executable, "-c", script, *arguments], capture_output=True, text=True, cwd=REPO
    )
    assert "nowhere: no such experiment directory" in result.stderr
    assert result.stdout.strip() == "False"
