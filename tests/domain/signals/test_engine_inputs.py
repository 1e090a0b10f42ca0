"""What an engine is given and what it refuses: rows, voters, models, contexts, strategies."""

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
import numpy as np
import pytest

from alphapulse.domain.analysis.closing import Closed
from alphapulse.domain.analysis.features import Feature
from alphapulse.domain.analysis.fields import Floats
from alphapulse.domain.analysis.models import FittedModel, Trained
from alphapulse.domain.decision.decisions import CalibrationFitted, DecisionMade
from alphapulse.domain.decision.strategy import Geometry, VoterChoice
from alphapulse.domain.decision.strategy_limits import MAX_SEATS
from alphapulse.domain.decision.votes import Kind, View, Vote, register
from alphapulse.domain.market.columns import BarColumns
from alphapulse.domain.market.events import BarsObserved, FeedConnected, FeedLost
from alphapulse.domain.market.instrument import Instrument
from alphapulse.domain.signals.engine import CannotRun, Engine, EngineState, Output
from alphapulse.domain.signals.signal import OutcomeRecorded
from tests.domain.signals.engine_world import (
    MINUTE,
    START,
    Log,
    bar_events,
    closes_and_volumes,
    log,
    seat,
    strategy,
    trade_events,
    world,
)


def of(found: Sequence[Output], kind: type) -> list[Any]:
    return [output.event for output in found if isinstance(output.event, kind)]


# Rows


def test_no_row_is_decided_while_a_feature_is_warming_up() -> None:
    made = of(Engine(strategy(min_consensus=0.1)).advance(world(bars=600)), DecisionMade)
    first = min(each.bar_start for each in made) - START // MINUTE
    assert 269 < first < 330  # the regime looks back at 270 bars
    loud = seat("a", sign=0.0, noise=1.0), seat("b", sign=0.0, noise=1.0, seed=2.0)
    made = of(Engine(strategy(*loud, min_consensus=0.01, quorum=1.0)).advance(world(bars=600)), DecisionMade)
    assert min(each.bar_start for each in made) - START // MINUTE in (270, 271, 272)


def test_no_row_is_decided_whose_features_look_at_a_dead_feed() -> None:
    closes, volumes = closes_and_volumes(4, 1_500, edge=3e-4)
    batches = trade_events("M0", closes, volumes, size=4)
    where = {"venue": "test", "symbol": "M0"}
    lost, back = 800, 810
    events: list[Any] = [FeedConnected(**where, time=START), *batches[:lost]]
    events.append(FeedLost(**where, time=int(batches[lost - 1].columns.time[-1]) + 1, reason="test"))
    events.append(FeedConnected(**where, time=int(batches[back].columns.time[0]) - 1))
    events += batches[back:]
    made = of(Engine(strategy()).advance(log({"M0": events})), DecisionMade)
    starts = [each.bar_start - START // MINUTE for each in made]
    assert any(start < lost for start in starts)
    assert not any(lost <= start < back + 270 for start in starts)
    assert any(start > back + 280 for start in starts)


def test_features_that_are_not_numbers_are_abstentions() -> None:
    class Nothing:
        version = 1
        inputs: Sequence[Feature] = ()

        def vote(self, view: View) -> Vote:
            return Vote.of(np.full(len(view), np.nan), lambda row: ("never said",), 1)

    register(Kind(name="test.nothing", title="NaN", make=lambda _, __: Nothing()))
    seats = (*strategy().voters, VoterChoice(name="nan", kind="test.nothing"))
    with_nan = of(Engine(strategy(*seats)).advance(world()), DecisionMade)
    without = of(Engine(strategy()).advance(world()), DecisionMade)
    assert [each.consensus for each in with_nan] == [each.consensus for each in without]
    vote = with_nan[0].votes[-1]
    assert (vote.direction, vote.score, vote.weight, vote.outcomes) == (0, 0.0, 0.0, 0.0)


def test_a_bar_that_reaches_both_levels_is_a_loss_for_all_that_is_learnt() -> None:
    """Every fourth bar spans the whole market, so most candidates end in one."""
    closes, volumes = closes_and_volumes(6, 3_000, edge=0.0)
    events = list[Any]()
    for event in bar_events("M0", closes, volumes, size=3_000):
        wide = np.arange(3_000) % 4 == 0
        columns = event.columns
        spread = (columns.close * 0.02).astype(np.int64)
        high = np.where(wide & (volumes == 1_000.0), columns.high + spread, columns.high)
        low = np.where(wide & (volumes == 1_000.0), columns.low - spread, columns.low)
        changed = {name: getattr(columns, name) for name in BarColumns.__slots__} | {"high": high, "low": low}
        events.append(
            BarsObserved(
                instrument=event.instrument,
                timeframe_minutes=1,
                volume_unit="base",
                columns=BarColumns(**changed),
            )
        )
    near = Geometry(stop_atr=0.5, target_atr=0.5, horizon_bars=30)
    found = Engine(strategy(geometries=(near,))).advance(log({"M0": events}))
    ends = of(found, OutcomeRecorded)
    doubtful = [e for e in ends if e.outcome.reason == "ambiguous"]
    assert len(doubtful) > 20
    assert all((e.outcome.label, e.outcome.worst_label, e.outcome.best_label) == (0, 0, 1) for e in doubtful)
    (first, *_) = of(found, CalibrationFitted)
    assert first.wins == sum(e.outcome.label for e in ends[: first.candidates])


# Strategies that this code cannot run


@pytest.mark.parametrize(
    ("choice", "why"),
    [
        (VoterChoice(name="x", kind="test.unknown"), "voter x: no kind of voter is called 'test.unknown'"),
        (VoterChoice(name="x", kind="test.echo", parameters={"depth": 1.0}), "test.echo has no depth"),
        (
            VoterChoice(name="x", kind="test.echo", version=7),
            "version 7 of test.echo, this code has version 1",
        ),
    ],
)
def test_a_voter_that_is_not_there_is_refused_with_its_name(choice: VoterChoice, why: str) -> None:
    with pytest.raises(CannotRun, match=why):
        Engine(strategy(choice))


@pytest.mark.parametrize(
    ("feature", "why"),
    [
        (Feature(name="f", rule="nonsense"), "voter x looks at 'f': .*no indicator is called 'nonsense'"),
        (Feature(name="f", rule="rsi", code_version=99), "code version 99 of rsi, this code has version 1"),
        (Feature(name="f", rule="rsi", timeframe=7), "timeframe 7"),
        (Feature(name="f", rule="rsi", lag=10_000), "lag 10000"),
    ],
)
def test_features_that_cannot_be_made_are_refused_with_who_looks_at_them(feature: Feature, why: str) -> None:
    class Looks:
        version = 1
        inputs = (feature,)

        def vote(self, view: View) -> Vote:
            return Vote.of(view["f"], lambda row: (), 1)

    name = f"test.looks_{feature.rule}_{feature.code_version}_{feature.timeframe}_{feature.lag}"
    register(Kind(name=name, title="", make=lambda _, __: Looks()))
    with pytest.raises(CannotRun, match=why):
        Engine(strategy(VoterChoice(name="x", kind=name)))


def test_more_voters_than_can_be_run_are_refused() -> None:
    most = [seat(f"v{n}", seed=float(n)) for n in range(MAX_SEATS + 1)]
    assert Engine(strategy(*most[:-1])).advance(world(bars=400)) is not None
    with pytest.raises(CannotRun, match=f"{MAX_SEATS + 1} voters, 1 to {MAX_SEATS}"):
        Engine(strategy(*most))


def test_markets_that_a_strategy_does_not_name_are_not_decided() -> None:
    found = Engine(strategy(instruments=("test:M1",))).advance(world())
    assert {output.instrument for output in found} - {""} == {"test:M1"}


# Models


class Fitted:
    """Says what its model found, of a feature that nobody else looks at."""

    version = 1
    inputs = (Feature(name="long", rule="roc", parameters={"period": 300.0}, output="roc"),)

    def __init__(self, model: FittedModel) -> None:
        self.sign = model.parameters["sign"]

    def vote(self, view: View) -> Vote:
        told = np.where(np.isnan(view["long"]), np.nan, (view.bars[:, 4] - 1_000.0) / 100.0)
        return Vote.of(self.sign * told, lambda row: (f"sign {self.sign}",), 1)


def make_fitted(_: Mapping[str, float], model: FittedModel | None) -> Fitted:
    assert model is not None
    return Fitted(model)


register(Kind(name="test.fitted", title="Has a model", model="test_kind", make=make_fitted))
FITTED = VoterChoice(name="m", kind="test.fitted", model="told")


def model(sign: float) -> FittedModel:
    trained = Trained(
        first_start=0, last_start=1, first_position=1, last_position=1, known_time=10**12, bars=2
    )
    return FittedModel(
        name="told",
        kind="test_kind",
        instrument="test:M0",
        timeframe=1,
        features=("roc(300).roc",),
        recipe={},
        trained=trained,
        parameters={"sign": sign},
    )


WITH_MODEL = strategy(*strategy().voters, FITTED)


def with_model_at(events: Log, at: int, cut: int | None = None) -> list[Output]:
    engine = Engine(WITH_MODEL)
    found = list(engine.advance(events[:at]))
    engine = engine.with_models({"told": model(1.0)}, {"told": 3})
    if cut is not None:
        found += engine.advance(events[at:cut])
        state = EngineState.unpacked(engine.state().packed())
        engine = Engine(WITH_MODEL, models={"told": model(1.0)}, versions={"told": 3}, state=state)
        at = cut
    return found + list(engine.advance(events[at:]))


def test_a_seat_without_its_model_abstains_and_the_others_decide() -> None:
    made = of(Engine(WITH_MODEL).advance(world()), DecisionMade)
    assert made
    for each in made:
        vote = each.votes[-1]
        assert (vote.direction, vote.model, vote.weight) == (0, "", 0.0)
        assert vote.reasons == ("there is no model told yet",)


def test_a_model_votes_from_its_position_on_once_its_own_features_are_there() -> None:
    events = world(bars=3_000, size=50)
    made = of(with_model_at(events, 40), DecisionMade)
    spoke = [each for each in made if each.votes[-1].direction]
    assert spoke
    first = min(each.bar_start for each in spoke) - START // MINUTE
    assert first >= 20 * 50 + 300  # 20 events of each market, then the bars that its feature needs
    assert {each.votes[-1].model for each in spoke} == {"told.3"}
    assert spoke[0].votes[-1].reasons == ("sign 1.0",)


def test_what_others_see_does_not_change_with_a_model() -> None:
    events = world(bars=1_000, size=50)
    found = with_model_at(events, 20)
    assert [o for o in found if o.position <= 20] == list(Engine(WITH_MODEL).advance(events[:20]))

    def before_it_spoke(outputs: Sequence[Output]) -> list[float]:
        end = START // MINUTE + 10 * 50 + 300
        return [made.consensus for made in of(outputs, DecisionMade) if made.bar_start < end]

    assert before_it_spoke(found) == before_it_spoke(Engine(WITH_MODEL).advance(events))


@pytest.mark.parametrize("cut", [40, 47, 80])
def test_a_state_taken_after_a_model_came_goes_on_the_same(cut: int) -> None:
    events = world(bars=3_000, size=50)
    assert with_model_at(events, 40, cut) == with_model_at(events, 40)


# Contexts


class Rate(msgspec.Struct, frozen=True):
    """An event of no market."""

    rate: float


class Rates:
    """The last rate as funding_rate; how far the reference market moved as reference_residual."""

    names = ("funding_rate", "reference_residual")
    markets = frozenset({"test:REF"})

    def __init__(self) -> None:
        self.restore(b"")

    def fold(self, position: int, instrument: str, event: Any) -> None:
        if isinstance(event, Rate):
            self.rate = event.rate

    def closed(self, instrument: str, closed: Mapping[int, Closed]) -> None:
        bars = closed[1].bars if 1 in closed else None
        if bars is not None:
            self.seen += zip(
                bars.position.tolist(), bars.start.tolist(), bars.values[4].tolist(), strict=True
            )

    def columns(self, instrument: str, timeframe: int, closed: Closed) -> Mapping[str, Floats]:
        known = {start: (position, close) for position, start, close in self.seen}
        rows = zip(closed.bars.start.tolist(), closed.bars.position.tolist(), strict=True)
        moves = [
            known[start][1] if start in known and known[start][0] <= position else np.nan
            for start, position in rows
        ]
        return {
            "funding_rate": np.full(len(closed.bars), self.rate),
            "reference_residual": np.array(moves),
        }

    def packed(self) -> bytes:
        return msgspec.msgpack.encode((self.rate, self.seen))

    def restore(self, data: bytes) -> None:
        self.rate, self.seen = msgspec.msgpack.decode(data) if data else (0.0, [])


class Follows:
    """Votes with the rate, where the reference is known."""

    version = 1
    inputs: Sequence[Feature] = ()

    def vote(self, view: View) -> Vote:
        known = np.isfinite(view["reference_residual"])
        rate = view["funding_rate"]
        return Vote.of(np.where(known, rate, np.nan), lambda row: (f"rate {rate[row]}",), 1)


register(Kind(name="test.follows", title="Votes with the rate", make=lambda _, __: Follows()))
FOLLOWS = strategy(
    VoterChoice(name="f", kind="test.follows"), quorum=1.0, min_consensus=0.5, instruments=("test:M0",)
)


def context_world() -> Log:
    closes, volumes = closes_and_volumes(2, 900)
    events: Log = []
    its = (bar_events(symbol, closes, volumes, size=10) for symbol in ("REF", "M0"))
    for n, (reference, own) in enumerate(zip(*its, strict=True)):
        if n % 9 == 0:
            events.append((len(events) + 1, "test:M0", Rate((-1.0) ** (n // 9) * 0.9)))
        pair = [("test:REF", reference), ("test:M0", own)]
        for instrument, event in pair if n % 2 else reversed(pair):
            events.append((len(events) + 1, instrument, event))
    return events


def test_contexts_are_known_from_their_position_on_however_the_log_is_cut() -> None:
    events = context_world()
    whole = list(Engine(FOLLOWS, contexts=[Rates()]).advance(events))
    made = of(whole, DecisionMade)
    assert {each.votes[0].score for each in made} == {0.9}
    assert {each.side for each in made} == {1, -1}
    assert {output.instrument for output in whole} <= {"", "test:M0"}
    rates = {position: event.rate for position, _, event in events if isinstance(event, Rate)}
    for each in made:
        last = max(position for position in rates if position < each.position)
        assert each.side == np.sign(rates[last])
    engine, found = Engine(FOLLOWS, contexts=[Rates()]), list[Output]()
    for event in events:
        found += engine.advance([event])
    assert found == whole


@pytest.mark.parametrize("at", [0, 55, 120, 188])
def test_contexts_go_on_from_a_state(at: int) -> None:
    events = context_world()
    engine = Engine(FOLLOWS, contexts=[Rates()])
    found = list(engine.advance(events[:at]))
    state = EngineState.unpacked(engine.state().packed())
    found += Engine(FOLLOWS, contexts=[Rates()], state=state).advance(events[at:])
    assert found == list(Engine(FOLLOWS, contexts=[Rates()]).advance(events))


def test_without_contexts_their_voters_abstain() -> None:
    assert not Engine(FOLLOWS).advance(context_world())


def test_an_instrument_of_its_own_kind_of_event_is_not_the_engines() -> None:
    """Events that are nobody's are passed over."""
    assert not Engine(strategy()).advance(
        [(1, "test:M0", Rate(0.1)), (2, str(Instrument("a", "B")), Rate(0))]
    )
