"""The recipe made up in tests/made_up_recipe.py, and its report."""

from pathlib import Path

import pytest

from tests.made_up_recipe import make_recipe, run_report


@pytest.fixture(scope="session")
def recipe(tmp_path_factory) -> dict[str, Path]:
    """Read only: a test that changes files makes its own."""
    return make_recipe(tmp_path_factory.mktemp("recipe") / "commands")


@pytest.fixture(scope="session")
def written(recipe) -> dict[str, Path]:
    with pytest.MonkeyPatch.context() as patch:
        run_report(recipe, patch)
    return recipe
