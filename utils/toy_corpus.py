"""Render a small corpus in the layout of a real one: see atat/prepare/toy_corpus.py, and --help."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from atat import toy_corpus
from atat.common import cli

cli.run(toy_corpus.main)
