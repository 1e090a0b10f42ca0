"""What an export keeps back while it could give an open signal away, and when it comes out."""

from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import pytest

from alphapulse.adapters.store.codec import codec
from alphapulse.adapters.verifier.track import longest_of
from alphapulse.domain.decision.strategy import Adaptation, Geometry
from alphapulse.domain.ports import StoredRecord
from alphapulse.domain.provenance.withholding import (
    LONGEST_NS,
    Withholding,
    longest_horizon,
    longest_horizons,
    strategy_of,
    withholding,
)
from tests import decision_events as given
from tests.domain.signals.engine_world import strategy

MINUTE = 60_000_000_000
NOON = 1_700_000_000 * 10**9
DEFINED = strategy(name="trial")  # at most 30 bars of a minute
LASTS = longest_horizon(DEFINED)


def stored(event: Any, stream: str = "") -> StoredRecord:
    new = codec.new_event(stream or given.stream_of(event), 1, event)
    fields = {name: getattr(new, name) for name in new.__struct_fields__}
    return StoredRecord(**fields, position=1, recorded_at=datetime(2024, 1, 1, tzinfo=UTC))


def rule(now: int, *issued: Any) -> Withholding:
    return withholding(now, [DEFINED], issued)


def keeps(now: int, event: Any, *issued: Any) -> bool:
    record = stored(event)
    return rule(now, *issued)(record, record.state)


DECISION = given.decision(1, time=NOON, horizon_end=NOON + 30 * MINUTE)
SIGNAL = given.issued(DECISION, 1)
OUTCOME = given.outcome(DECISION, number=1)
AFTER_5 = msgspec.structs.replace(
    OUTCOME,
    outcome=msgspec.structs.replace(OUTCOME.outcome, closed_at=NOON + 5 * MINUTE, holding_ns=5 * MINUTE),
)
CLOSED = given.closed(AFTER_5)
EXIT = given.like_sample("signal.exit_recommended.v1", strategy="trial", number=1, time=NOON)
ADAPTED = given.like_sample(
    "decision.parameters_adapted.v1",
    strategy="trial",
    strategy_version=1,
    instrument="test:BTC_USD",
    time=NOON,
)
TELLING = {
    "decision": DECISION,
    "refused": given.decision(2, time=NOON, verdict="refused", refusals=("veto",)),
    "signal": SIGNAL,
    "exit": EXIT,
    "outcome": AFTER_5,
    "closed": CLOSED,
    "adaptation": ADAPTED,
}


@pytest.mark.parametrize("what", TELLING)
def test_what_tells_of_open_signals_is_kept_back_for_the_longest_horizon_and_no_longer(what: str) -> None:
    assert keeps(NOON + LASTS - 1, TELLING[what], SIGNAL)
    assert not keeps(NOON + LASTS, TELLING[what], SIGNAL)


def test_a_trial_is_kept_back_as_long_as_it_saw_what_is_open() -> None:
    trial = given.like_sample("trial.recorded.v1", strategy="trial", last_time=NOON)
    record = stored(trial, "trials-trial")
    assert rule(NOON + LASTS - 1)(record, record.state)
    assert not rule(NOON + LASTS)(record, record.state)


@pytest.mark.parametrize("name", ["strategy.defined.v1", "calibration.fitted.v1"])
def test_definitions_and_calibrations_are_never_kept_back(name: str) -> None:
    event = given.like_sample(name)
    record = stored(event)
    assert not rule(0)(record, record.state)


def test_a_market_is_never_kept_back() -> None:
    record = msgspec.structs.replace(
        stored(DECISION), stream="bars-test-BTC_USD-1m", name="market.bars_observed.v1"
    )
    assert not rule(0)(record, None)


def test_a_body_that_cannot_be_read_is_kept_back_by_the_time_of_its_event() -> None:
    record = stored(AFTER_5)
    assert rule(NOON + 5 * MINUTE + LASTS - 1)(record, None)
    assert not rule(NOON + 5 * MINUTE + LASTS)(record, None)


def test_without_a_time_of_its_own_the_recorded_one_counts() -> None:
    record = stored(SIGNAL)
    bare = msgspec.structs.replace(record, envelope=msgspec.structs.replace(record.envelope, event_time=None))
    recorded = (
        round((record.recorded_at - datetime(1970, 1, 1, tzinfo=UTC)) / timedelta(microseconds=1)) * 1_000
    )
    assert rule(recorded + LASTS - 1)(bare, None)
    assert not rule(recorded + LASTS)(bare, None)


def test_a_strategy_that_nobody_defined_is_kept_back_for_the_longest_horizon_there_is() -> None:
    other = given.issued(given.decision(1, strategy="ghost", time=NOON), 1)
    assert keeps(NOON + LONGEST_NS - 1, other)
    assert not keeps(NOON + LONGEST_NS, other)


def test_the_longest_horizon_is_that_of_any_version_geometry_timeframe_and_adaptation() -> None:
    long = strategy(
        name="trial",
        version=2,
        timeframes=(1, 15),
        geometries=(
            Geometry(stop_atr=1, target_atr=1, horizon_bars=10),
            Geometry(stop_atr=1, target_atr=1, horizon_bars=40),
        ),
        adaptations=(
            Adaptation(name="slow", change={"horizon": 1.5}),
            Adaptation(name="quick", change={"horizon": 0.5}),
        ),
    )
    assert longest_horizon(long) == 61 * 15 * MINUTE
    assert longest_horizons([DEFINED, long]) == {"trial": 61 * 15 * MINUTE}
    assert longest_horizons([long, DEFINED]) == {"trial": 61 * 15 * MINUTE}


@pytest.mark.parametrize(
    "defined",
    [
        DEFINED,
        strategy(timeframes=(10_080,), geometries=(Geometry(stop_atr=1, target_atr=1, horizon_bars=500),)),
    ],
)
def test_the_verifier_reads_the_same_longest_horizon_off_the_definition(defined: Any) -> None:
    assert longest_of(msgspec.json.decode(msgspec.json.encode(defined))) == longest_horizon(defined)


@pytest.mark.parametrize(
    ("stream", "strategy_name"),
    [
        ("signals-my-first", "my-first"),
        ("trials-a.b", "a.b"),
        ("decisions-kraken-BTC_USD-my-first.12", "my-first"),
        ("calibration-x.1-0", None),
        ("bars-kraken-BTC_USD-1m", None),
    ],
)
def test_whose_events_a_stream_holds(stream: str, strategy_name: str | None) -> None:
    assert strategy_of(stream) == strategy_name
