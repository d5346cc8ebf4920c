"""The command scripts/simulate: it replays, it stops at a failure, and it goes on where it was."""

import json

import pytest

from tests.simulation import command
from tests.simulation.coordinator import Shell
from tests.simulation.search import Stage


class Deaf(Shell):
    """Acknowledges, and does nothing else."""

    def steps(self, decision):
        return iter([step for step in super().steps(decision) if step[0] == "ack"])


@pytest.fixture
def broken(monkeypatch):
    """A service that forgets every request."""
    monkeypatch.setattr(command, "Stage", lambda: Stage(shell=Deaf))


def test_a_seed_is_replayed_with_its_trace(capsys):
    assert command.main(["--seed", "3", "--trace"]) == 0
    told = capsys.readouterr().out
    assert told.startswith("seed 3,")
    assert "RequestSettled" in told
    assert "every promise was kept" in told


def test_a_long_run_goes_on_where_it_stopped(tmp_path, capsys):
    tally = tmp_path / "tally.json"
    tally.write_text(json.dumps({"next_seed": 40, "failed": [], "took_s": 1.0}))
    assert command.main(["--seeds", "50", "--resume", str(tally)]) == 0
    kept = json.loads(tally.read_text())
    assert kept["next_seed"] == 50
    assert kept["took_s"] > 1.0
    assert "50 seeds, 0 failed" in capsys.readouterr().out


def test_a_broken_promise_ends_the_run_and_tells_seed_schedule_and_trace(broken, capsys):
    assert command.main(["--seeds", "1000"]) == 1
    told = capsys.readouterr().out
    assert "has no result" in told
    assert "replay: scripts/simulate --seed 0 --trace" in told
    assert "250 seeds" in told
