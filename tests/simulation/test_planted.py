"""Each planted bug is found, and found by the faults it needs."""

import pytest

from tests.simulation.planted import PLANTED
from tests.simulation.schedule import Result, run
from tests.simulation.shrinking import shrunk

SEEDS = 200
IN_CI = ("checkpoint before effect", "no deduplication", "no gap fill")


@pytest.fixture(autouse=True)
def _quiet(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("CRITICAL")


def first_broken() -> Result | None:
    return next((r for seed in range(SEEDS) if (r := run(seed, tracing=False)).violations), None)


@pytest.mark.parametrize("bug", IN_CI)
def test_a_planted_bug_is_found(bug: str) -> None:
    with PLANTED[bug]():
        assert first_broken() is not None


@pytest.mark.long
@pytest.mark.parametrize("bug", sorted(set(PLANTED) - set(IN_CI)))
def test_every_planted_bug_is_found_within_200_seeds(bug: str) -> None:
    with PLANTED[bug]():
        assert first_broken() is not None


def test_there_are_at_least_20_planted_bugs() -> None:
    assert len(PLANTED) >= 20


def test_a_broken_schedule_shrinks_to_the_faults_that_it_needs() -> None:
    """The stream that nobody looks at has to shrink while the log is quiet: nothing else has to happen."""
    with PLANTED["stream end never looked at"]():
        broken = first_broken()
        assert broken is not None
        kept = shrunk(broken.faults, lambda faults: bool(run(broken.seed, faults, tracing=False).violations))
        assert len(kept) == 1 < len(broken.faults)
        assert kept[0].kind.startswith("bus ")
    assert run(broken.seed, tracing=False).violations == []
