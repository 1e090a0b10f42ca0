"""The engine as a whole: however the log is cut, put away and restored, the same follows from it."""

from functools import cache
from itertools import pairwise

from hypothesis import given, settings
from hypothesis import strategies as st

from alphapulse.domain.decision.decisions import ISSUED, CalibrationFitted, DecisionMade
from alphapulse.domain.signals.engine import Engine, EngineState, Output
from alphapulse.domain.signals.signal import OutcomeRecorded
from tests.domain.signals.engine_world import strategy, world

LOG = world(markets=2, bars=1_500, size=100)


@cache
def expected() -> list[Output]:
    return list(Engine(strategy()).advance(LOG))


def test_a_world_with_an_edge_gives_decisions_outcomes_calibrations_and_signals() -> None:
    events = [output.event for output in expected()]
    assert sum(isinstance(e, OutcomeRecorded) for e in events) > 60
    assert any(isinstance(e, CalibrationFitted) for e in events)
    assert any(isinstance(e, DecisionMade) and e.verdict == ISSUED for e in events)


@settings(max_examples=30)
@given(cuts=st.sets(st.integers(0, len(LOG)), max_size=12))
def test_any_cutting_into_calls_gives_the_same(cuts: set[int]) -> None:
    engine, found = Engine(strategy()), list[Output]()
    for a, b in pairwise([0, *sorted(cuts), len(LOG)]):
        found += engine.advance(LOG[a:b])
    assert found == expected()


@settings(max_examples=20)
@given(at=st.integers(0, len(LOG)))
def test_an_engine_restored_from_bytes_goes_on_as_if_nothing_had_happened(at: int) -> None:
    before = Engine(strategy())
    found = list(before.advance(LOG[:at]))
    state = EngineState.unpacked(before.state().packed())
    found += Engine(strategy(), state=state).advance(LOG[at:])
    assert found == expected()
