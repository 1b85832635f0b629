"""A finished run of the tiny study, made once and copied by the tests that change something."""

import shutil
from dataclasses import replace

import pytest

from running import REPOSITORY, TINY, Place, without_network


@pytest.fixture(scope="session")
def tiny(tmp_path_factory):
    """The tiny study, run on two cores from a copy of the checkout that stands beside the results.

    Where the system allows it, there is no network meanwhile: a study needs none.
    """
    root = tmp_path_factory.mktemp("tiny")
    for name in ("workflow", "envs", "config", "tests/config"):
        shutil.copytree(REPOSITORY / name, root / "checkout" / name, ignore=shutil.ignore_patterns("__pycache__"))
    (root / "run").mkdir()
    place = Place(root / "run", root / "checkout", (root / "checkout" / TINY.relative_to(REPOSITORY),))
    outcome = place.run(within=without_network())
    assert outcome.code == 0, outcome.text
    return place


@pytest.fixture
def tiny_copy(tiny, tmp_path):
    """A copy of the finished run and its checkout; modification times are kept, so it counts as up to date."""
    shutil.copytree(tiny.directory.parent, tmp_path / "copy")
    checkout = tmp_path / "copy" / "checkout"
    overlays = tuple(checkout / path.relative_to(tiny.repository) for path in tiny.overlays)
    return replace(tiny, directory=tmp_path / "copy" / "run", repository=checkout, overlays=overlays)


@pytest.fixture
def empty(tmp_path):
    """An empty folder in which the default study is run from the checkout itself."""
    directory = tmp_path / "empty"
    directory.mkdir()
    return Place(directory)
