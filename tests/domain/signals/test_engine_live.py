"""Markets side by side: what is done for many at once gives each what it would get alone."""

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from alphapulse.domain.decision.decisions import DecisionMade
from alphapulse.domain.signals.engine import Engine
from tests.domain.signals.engine_world import Log, bar_events, closes_and_volumes, log, trade_events
from tests.domain.signals.test_engine import MANY, in_cuts


def live(markets: int, bars: int) -> Log:
    """Each market closes one bar after the other, by one event each."""
    made = {}
    for n in range(markets):
        closes, volumes = closes_and_volumes(20 + n, bars, edge=5e-4)
        made[f"M{n}"] = trade_events(f"M{n}", closes, volumes, seed=n, size=4)
    return log(made)


def test_markets_stepped_together_decide_as_each_alone() -> None:
    events = live(5, 340)
    history, now = events[:1_350], events[1_350:]
    whole = list(Engine(MANY).advance(events))
    turns = in_cuts(MANY, events, range(1_350, len(events), 5))
    alone = in_cuts(MANY, events, range(len(history), len(events)))
    assert turns == alone == whole
    assert sum(isinstance(o.event, DecisionMade) and o.position > now[0][0] for o in whole) > 5


@settings(max_examples=3)
@given(order=st.permutations(range(6)), some=st.sets(st.integers(0, 5)), data=st.data())
def test_markets_that_come_and_go_decide_the_same(
    order: list[int], some: set[int], data: st.DataObject
) -> None:
    """Some are fed history first, some miss bars: each stands somewhere else in the side by side state."""
    made: dict[str, list[Any]] = {}
    for n in order:
        closes, volumes = closes_and_volumes(30 + n, 320, edge=5e-4)
        its = bar_events(f"M{n}", closes, volumes, seed=n, size=300)
        if n not in some:
            its = [*its[:1], *bar_events(f"M{n}", closes, volumes, seed=n, size=1)[300:]]
        made[f"M{n}"] = its[: data.draw(st.integers(1, len(its)))] if n % 3 == 0 else its
    events = log(made)
    cuts = data.draw(st.sets(st.integers(0, len(events)), max_size=30))
    assert in_cuts(MANY, events, sorted(cuts)) == list(Engine(MANY).advance(events))
