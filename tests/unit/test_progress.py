"""Bars of long work, in logs and on terminals."""

import pytest

from approxgrad import progress
from approxgrad.running.endings import CLEAR, say


def test_each_state_of_a_bar_is_a_line_of_a_log(monkeypatch, capsys):
    monkeypatch.setattr(progress, "QUIET_SECONDS", 0)
    bar = progress.progress_bar(4, "train mlp", "epoch")
    bar.mininterval = 0
    for _ in range(4):
        bar.update()
        bar.refresh()
        say("attribute digits: 3 samples")
    bar.close()
    text = capsys.readouterr().err
    assert "\r" not in text
    lines = text.splitlines()
    assert all(line.startswith("train mlp:") or line == "attribute digits: 3 samples" for line in lines)
    assert any("4.00/4.00" in line for line in lines)


@pytest.mark.parametrize("terminal", [True, False])
def test_a_line_takes_the_place_of_a_bar_on_a_terminal(monkeypatch, capsys, terminal):
    monkeypatch.setattr("sys.stderr.isatty", lambda: terminal)
    say("done")
    assert capsys.readouterr().err == f"{CLEAR if terminal else ''}done\n"
