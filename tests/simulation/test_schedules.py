"""Schedules of faults over production code: every promise holds after each of them."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.simulation.faults import KINDS, TARGETED, Fault
from tests.simulation.schedule import plan, run

ROOT = Path(__file__).parents[2]


@pytest.fixture(autouse=True)
def _quiet(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("CRITICAL")


@pytest.mark.parametrize("first", [0, 50, 100])
def test_no_schedule_breaks_a_promise(first: int) -> None:
    broken = [seed for seed in range(first, first + 50) if run(seed, tracing=False).violations]
    assert broken == []


@pytest.mark.long
def test_a_thousand_schedules_break_no_promise() -> None:
    broken = [seed for seed in range(10_000, 11_000) if run(seed, tracing=False).violations]
    assert broken == []


def test_the_same_seed_gives_the_same_trace_in_any_process() -> None:
    """Whatever the hashes of strings are there, and whatever ran before."""
    command = (
        "import logging; logging.disable(); from tests.simulation.schedule import run;"
        "print(run(3).digest, run(1).digest, run(3).digest)"
    )
    elsewhere = subprocess.run(
        [sys.executable, "-c", command],
        env={"PYTHONHASHSEED": "1", "PYTHONPATH": str(ROOT)},
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    third, first, again = elsewhere.stdout.split()
    assert third == again != first
    assert (first, third) == (run(1).digest, run(3).digest)


def test_every_kind_of_fault_is_drawn_and_happens() -> None:
    drawn = {fault.kind for seed in range(200) for fault in plan(seed).faults}
    assert drawn == set(KINDS)
    for kind in KINDS:
        target = "relay-0" if kind in TARGETED else ""
        result = run(1, [Fault(1.0, kind, target, 2)])
        assert result.violations == []
        assert any(f"fault:  1.000 s  {kind}" in line for line in result.trace), kind


def test_without_faults_nothing_is_done_twice() -> None:
    """Orders, rows, a confirmation of each that can be read, and one announcement of whoever confirms."""
    for seed in range(20):
        result, planned = run(seed, []), plan(seed)
        confirmed = len(planned.commands) + sum(number > 0 for number, _ in planned.rows)
        assert result.violations == []
        assert result.events == len(planned.commands) + len(planned.rows) + confirmed + 1
        assert not any("again" in line for line in result.trace)
