"""What the verifier says of a track record: numbers, definitions, who was in time, what is kept back."""

import json
from typing import Any

import msgspec
import pytest
from hypothesis import given as forall
from hypothesis import strategies as st

from alphapulse.adapters.store.codec import codec
from alphapulse.adapters.verifier.findings import Findings
from alphapulse.adapters.verifier.leaf import Event, json_of
from alphapulse.adapters.verifier.track import (
    TrackRecord,
    Vouched,
    earliest_anchors,
    earliest_with,
    length_of_bars,
    longest_of,
    plain_numbers,
    timeliness_of,
)
from alphapulse.domain.market.timeframes import LABELS
from tests import decision_events as given
from tests.domain.signals.engine_world import strategy

MINUTE = 60_000_000_000
NOON = 1_700_000_000 * 10**9
DEFINED = strategy(name="trial")
LASTS = longest_of(msgspec.to_builtins(DEFINED))


class Story:
    """Events one behind the other, as a bundle's lines, recorded a second after they happened."""

    def __init__(self) -> None:
        self.record, self.leaf = TrackRecord(), 0
        self.versions: dict[str, int] = {}

    def tell(
        self, event: Any, *, at: int = NOON, absent: str | None = None, stream: str = "", name: str = ""
    ) -> int:
        stream, name = stream or given.stream_of(event), name or stored_name(event)
        self.versions[stream] = self.versions.get(stream, 0) + 1
        state = None if absent else msgspec.json.encode(event)
        self.record.see(
            Event(
                leaf=self.leaf,
                position=10 * self.leaf,
                id="",
                stream=stream,
                version=self.versions[stream],
                name=name,
                recorded_at=at // 1_000 + 1_000_000,
                event_time=at,
                cause=None,
                correlation=None,
                actor="",
                trace=None,
                id_lo=None,
                id_hi=None,
                commitment=b"",
                salt=None,
                state=state,
                hash=b"",
                event=None if state is None else json_of(state.decode()),
                absent=absent,
            )
        )
        self.leaf += 1
        return self.leaf - 1

    def judged(
        self, anchored: list[Vouched] | None = None, asked: str | None = "trial", count: int = 9
    ) -> Any:
        findings = Findings()
        self.record.end(findings, {"trial": count}, anchored or [], asked)
        return findings


def stored_name(event: Any) -> str:
    return str(codec.encode(event).name)


def signal(number: int, at: int = NOON, **changed: Any) -> Any:
    made = given.decision(number, time=at, horizon_end=at + 30 * MINUTE, timeframe=1)
    return msgspec.structs.replace(given.issued(made, number), horizon_end=at + 30 * MINUTE, **changed)


def outcome(number: int, at: int = NOON, *, closed: int, position: int, won: bool = True) -> Any:
    made = given.outcome(given.decision(number, time=at), won=won, number=number)
    told = msgspec.structs.replace(made.outcome, closed_at=closed, position=position)
    return msgspec.structs.replace(made, outcome=told)


def test_numbers_that_are_not_1_2_3_are_found() -> None:
    story = Story()
    story.tell(DEFINED)
    story.tell(signal(1))
    at = story.tell(signal(3))
    (fault,) = story.judged().faults
    assert (fault.leaf, fault.what, fault.text) == (at, "number", "signal 3 of trial stands where 2 belongs")


def test_a_stream_that_is_here_in_part_may_begin_with_any_number() -> None:
    story = Story()
    story.tell(DEFINED)
    story.versions["signals-trial"] = 4
    story.tell(signal(3))
    assert story.judged().faults == []


def test_a_version_that_is_defined_after_its_signal_is_found() -> None:
    story = Story()
    story.tell(DEFINED)
    early = story.tell(signal(1, strategy_version=2))
    story.tell(msgspec.structs.replace(DEFINED, version=2))
    (fault,) = story.judged().faults
    assert (fault.leaf, fault.what) == (early, "strategy")
    assert "version 2 is leaf 2, after this signal" in fault.text


def test_a_withheld_signal_needs_a_definition_before_it_too() -> None:
    story = Story()
    early = story.tell(signal(1), absent="withheld")
    story.tell(DEFINED)
    (fault,) = story.judged().faults
    assert (fault.leaf, fault.what) == (early, "strategy")


@pytest.mark.parametrize(
    ("anchored_s", "state"), [(3, "committed before"), (300, "late"), (None, "not anchored")]
)
def test_a_signal_is_in_time_if_an_anchor_came_before_the_trade_that_closed_it(
    anchored_s: int | None, state: str
) -> None:
    story = Story()
    story.tell(DEFINED)
    at = story.tell(signal(1))
    closed = NOON + 2 * MINUTE
    trade = story.tell(DEFINED, at=closed, stream="trades-test-BTC_USD", name="market.trades_observed.v1")
    story.tell(outcome(1, closed=closed, position=10 * trade), at=closed)
    vouched = [] if anchored_s is None else [Vouched(at + 1, NOON // 1_000 + anchored_s * 1_000_000, "w")]
    (told,) = story.judged(vouched).facts["track_record"]["trial"]["of"]
    assert (told["timeliness"], told["reason"], told["is_win"]) == (state, "target", True)
    assert told["margin_ns"] == (None if anchored_s is None else 2 * MINUTE - anchored_s * 10**9)


@pytest.mark.parametrize(
    ("stream", "state"), [("bars-test-BTC_USD-1m", "committed before"), ("bars-test-BTC_USD-5m", "late")]
)
def test_a_bar_may_have_closed_it_from_its_beginning_on(stream: str, state: str) -> None:
    story = Story()
    story.tell(DEFINED)
    at = story.tell(signal(1))
    bar = story.tell(DEFINED, at=NOON, stream=stream, name="market.bars_observed.v1")
    closed = NOON + 5 * MINUTE
    story.tell(outcome(1, closed=closed, position=10 * bar), at=closed)
    vouched = [Vouched(at + 1, (NOON + 3 * MINUTE) // 1_000, "w")]
    (told,) = story.judged(vouched).facts["track_record"]["trial"]["of"]
    assert told["timeliness"] == state


def test_of_a_market_event_that_is_not_here_the_most_careful_is_assumed() -> None:
    """It may have been a bar as long as those that the strategy decides on."""
    story = Story()
    story.tell(DEFINED)
    at = story.tell(signal(1))
    story.tell(outcome(1, closed=NOON + 5 * MINUTE, position=15), at=NOON + 5 * MINUTE)
    (told,) = story.judged([Vouched(at + 1, NOON // 1_000, "w")]).facts["track_record"]["trial"]["of"]
    assert told["knowable"] == NOON + 4 * MINUTE


def test_an_outcome_that_the_log_held_before_the_signal_makes_it_late() -> None:
    story = Story()
    story.tell(DEFINED)
    trade = story.tell(DEFINED, stream="trades-test-BTC_USD", name="market.trades_observed.v1")
    at = story.tell(signal(1))
    story.tell(outcome(1, closed=NOON + MINUTE, position=10 * trade))
    (told,) = story.judged([Vouched(at + 1, 0, "w")]).facts["track_record"]["trial"]["of"]
    assert told["timeliness"] == "late"


@pytest.mark.parametrize("absent", ["withheld", "erased"])
def test_what_is_kept_back_is_lost_once_the_longest_horizon_is_over(absent: str) -> None:
    for later, is_lost in ((LASTS - 10**9, False), (LASTS + 10**9, True)):
        story = Story()
        story.tell(DEFINED)
        story.tell(signal(1), absent=absent)
        story.tell(msgspec.structs.replace(DEFINED, version=2), at=NOON + later - 10**9)
        found = story.judged()
        (told,) = found.facts["track_record"]["trial"]["of"]
        assert (told["state"], told["counts_as_loss"]) == (absent, is_lost)
        assert any("count as losses: 1" in each.text for each in found.missing) is is_lost


def test_an_anchor_tells_the_time_as_well_as_the_log() -> None:
    """A log that stops the moment before a horizon is over is no way out."""
    story = Story()
    story.tell(DEFINED)
    story.tell(signal(1), absent="withheld")
    found = story.judged([Vouched(2, (NOON + LASTS + MINUTE) // 1_000, "w")])
    assert found.facts["track_record"]["trial"]["counted_as_lost"] == 1


def test_a_strategy_that_was_asked_for_and_has_no_signals_has_an_empty_record() -> None:
    found = Story().judged(count=0)
    assert found.facts["track_record"]["trial"]["signals"] == 0
    assert found.faults == []


def test_an_open_signal_is_undecided_until_the_market_goes_on() -> None:
    for seen, state in ((1, "undecided"), (9, "committed before")):
        story = Story()
        story.tell(DEFINED)
        at = story.tell(signal(1))
        time = NOON + seen * 10**9
        story.tell(DEFINED, at=time, stream="trades-test-BTC_USD", name="market.trades_observed.v1")
        (told,) = story.judged([Vouched(at + 1, NOON // 1_000 + 5_000_000, "w")]).facts["track_record"][
            "trial"
        ]["of"]
        assert (told["timeliness"], told["reason"]) == (state, None)


@forall(st.lists(st.tuples(st.integers(1, 9), st.integers(0, 9)), max_size=9), st.integers(0, 9))
def test_the_earliest_of_the_trees_that_hold_a_leaf_is_found(
    given_: list[tuple[int, int]], leaf: int
) -> None:
    anchored = [Vouched(size, time, f"{size} {time}") for size, time in given_]
    first = earliest_with(earliest_anchors(anchored), leaf)
    times = [time for size, time in given_ if size > leaf]
    assert (None if first is None else first.time) == min(times, default=None)


def test_a_stream_of_bars_says_how_long_they_are() -> None:
    for minutes, label in LABELS.items():
        assert length_of_bars(f"bars-kraken-BTC_USD-{label}") == minutes * MINUTE
    assert length_of_bars("bars-kraken-BTC_USD-x") == 0


def test_a_margin_of_nothing_is_too_late() -> None:
    assert timeliness_of(0, is_decided=True, was_known=False) == "late"
    assert timeliness_of(1, is_decided=True, was_known=False) == "committed before"
    assert timeliness_of(1, is_decided=True, was_known=True) == "late"


def test_fractions_of_a_bundle_become_floats() -> None:
    value = {"a": [1.5, {"b": 2}], "c": "1.5", "d": None}
    assert plain_numbers(json_of(json.dumps(value))) == value
