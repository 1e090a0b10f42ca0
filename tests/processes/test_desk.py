"""What a desk has recorded of what its engine gave: the same one by one as in arrays, however it is cut."""

from itertools import pairwise
from typing import Any

import pytest

from alphapulse.domain.decision.decisions import CalibrationFitted, DecisionMade
from alphapulse.domain.signals.engine import ExitSuggested, Output
from alphapulse.domain.signals.signal import OutcomeRecorded
from alphapulse.processes import desk as desks
from alphapulse.processes.desk import Desk
from tests.domain.signals.engine_world import strategy
from tests.domain.signals.test_engine import LOG, expected

DEFINED = strategy()
EVENTS: list[tuple[int, str, Any]] = [(at, "", event) for at, _, event in LOG]
LAST = EVENTS[-1][0]


def recorded(since: int, retired: int | None, cuts: set[int]) -> tuple[list[Output], Desk]:
    desk, found = Desk.begun(DEFINED, since, 0), list[Output]()
    desk.retired = retired
    for a, b in pairwise([0, *sorted(cuts), len(EVENTS)]):
        if a < b:
            found += desk.take(EVENTS[a:b], EVENTS[b - 1][0])
    return found, desk


def wanted(since: int, retired: int | None) -> list[Any]:
    """Events by the rule, from what the engine gives."""
    found, is_open, before = list[Any](), set[str](), list[Any]()
    for output in expected():
        event = output.event
        if output.position <= since:
            before = [event] if isinstance(event, CalibrationFitted) else before
            continue
        found += before
        before = []
        if isinstance(event, OutcomeRecorded):
            if event.decision in is_open:
                found.append(event)
        elif retired is None or output.position <= retired:
            is_open |= {event.decision} if isinstance(event, DecisionMade) else set()
            found.append(event)
    return found + (before if since <= LAST else [])


@pytest.mark.parametrize("few", [0, 1_000_000])
@pytest.mark.parametrize(("since", "retired"), [(0, None), (LAST // 2, None), (LAST // 3, 2 * LAST // 3)])
def test_all_is_recorded_from_the_definition_to_the_retirement_and_then_what_becomes_of_it(
    monkeypatch: pytest.MonkeyPatch, few: int, since: int, retired: int | None
) -> None:
    monkeypatch.setattr(desks, "FEW", few)
    found, desk = recorded(since, retired, {1, len(LOG) // 2, len(LOG) // 2 + 1, len(LOG) - 3})
    assert [output.event for output in found] == wanted(since, retired)
    assert len(found) > 20
    ends: dict[str, int] = {}
    for output in found:
        is_advice = isinstance(output.event, ExitSuggested)
        assert output.ordinal == ends.get(output.instrument, 0) + (not is_advice)
        ends[output.instrument] = output.ordinal
    assert desk.ordinals == ends
    made = {output.event.decision for output in found if isinstance(output.event, DecisionMade)}
    over = {output.event.decision for output in found if isinstance(output.event, OutcomeRecorded)}
    assert desk.open == made - over
