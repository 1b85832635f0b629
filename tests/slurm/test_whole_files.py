"""Every result gets its name when it is complete, so that a second writer, or a reader, never meets half a file."""

import pytest

from folder_events import FolderEvents
from running import TINY, Place

pytestmark = [pytest.mark.soak, pytest.mark.workflow]


def test_results_are_renamed_when_they_are_ready(tmp_path):
    for name in ("data", "results"):
        (tmp_path / name).mkdir()
    with FolderEvents(tmp_path / "data") as data, FolderEvents(tmp_path / "results") as results:
        outcome = Place(tmp_path, overlays=(TINY,)).run()
    assert outcome.code == 0, outcome.text
    for name, events in (("data", data), ("results", results)):
        files = {path for path in (tmp_path / name).rglob("*") if path.is_file()}
        assert files
        assert files <= events.renamed
        assert not files & events.written
