# The active environment, else .venv; tools/install.sh makes or completes it.
PYTHON := $(or $(VIRTUAL_ENV),.venv)/bin/python
.DEFAULT_GOAL := help
.PHONY: help install test coverage lint fuzz licences audit

help:  ## list these targets
	@sed -nE 's/^([a-z]+): .*## (.*)/  make \1\t\2/p' Makefile

install:  ## make or complete the environment
	@tools/install.sh

# TESTS="tests/test_x.py -k name" runs some of them. One thread a process: two processes run.
test: install  ## run all tests
	HF_HUB_OFFLINE=1 OMP_NUM_THREADS=1 $(PYTHON) -m pytest -n 2 --dist worksteal --durations 40 $(TESTS)

coverage: install  ## run the tests (TESTS as above) and say which lines and branches they leave out
	HF_HUB_OFFLINE=1 OMP_NUM_THREADS=1 $(PYTHON) -m pytest -n 2 --dist worksteal --cov --cov-report=term $(TESTS)

lint: install  ## check Python and shell without changing anything
	tools/lint.sh

# FUZZ="--num 1000 --parsers tree,ctm": a part of it. It goes on where it ended; counts and crashes
# are in build/fuzz.
fuzz: install  ## give every parser 100,000 hostile inputs, and count what comes of them
	$(PYTHON) -m tools.fuzz --num 100000 --jobs 2 $(FUZZ)

licences: install  ## list the licences of all packages, and refuse those that are not allowed
	$(PYTHON) tools/licences.py

audit: install  ## ask for known vulnerabilities of the locked packages (pip-audit, the network)
	$(PYTHON) tools/audit.py
