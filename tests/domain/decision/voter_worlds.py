"""Bars in several timeframes, the features that voters look at on them, and views of the rows."""

from collections.abc import Iterable, Mapping, Sequence
from functools import cache

import msgspec
import numpy as np

from alphapulse.domain.analysis.bars import Bars
from alphapulse.domain.analysis.closing import Closed
from alphapulse.domain.analysis.feature_rows import FeatureRows, SetPlan
from alphapulse.domain.analysis.features import DefineSet, Feature, SetDefined, decide
from alphapulse.domain.analysis.fields import CLOSE, HIGH, LOW, OPEN, TIME, Floats
from alphapulse.domain.analysis.models import FittedModel, Trained
from alphapulse.domain.decision.voters import learned
from alphapulse.domain.decision.voters.logistic import MODEL_KIND, logistic_model_parameters
from alphapulse.domain.decision.votes import CONTEXT, Kind, View, Voter, kinds
from alphapulse.domain.market.timeframes import MINUTE_NS
from alphapulse.domain.versions import Versions
from tests.domain.analysis.series import from_ohlcv, walk
from tests.domain.decision.learned_models import learned_model

TIMEFRAME = 5
LARGER = (60, 240)
MINUTE_OF_2024 = 28_401_120


def columns_of(count: int) -> dict[str, Floats]:
    """Context that says something now and then, and is not there at times."""
    rng = np.random.default_rng(12)
    made = {
        "funding_rate": rng.normal(1e-4, 2e-4, count),
        "funding_mean": rng.normal(1e-4, 2e-5, count),
        "funding_deviation": np.abs(rng.normal(1e-4, 2e-5, count)),
        "sentiment": rng.uniform(-1, 1, count),
        "headlines": np.floor(rng.uniform(0, 10, count)),
        "reference_beta": rng.normal(1, 0.5, count),
        "reference_residual": rng.normal(0, 2, count),
    }
    assert set(made) == set(CONTEXT)
    for values in made.values():
        values[rng.random(count) < 0.1] = np.nan
    return made


def in_five_minutes(bars: Floats) -> Floats:
    """The same bars, five minutes apart, from a midnight on."""
    moved = bars.copy()
    moved[TIME] = MINUTE_OF_2024 + TIMEFRAME * np.arange(bars.shape[1])
    return moved


@cache
def market(count: int = 6_000) -> Floats:
    """Walks with trends, spikes of volume and quiet hours."""
    bars = in_five_minutes(walk(count, 21, start=1_000.0, tick=1 / 64))
    loud = np.arange(count) % 97 == 0
    bars[5:8, loud] *= 30
    return bars


def aggregated(bars: Floats, timeframe: int) -> Floats:
    """Whole bars of ``timeframe`` minutes; one that is not over is not there."""
    each = timeframe // TIMEFRAME
    whole = bars[:, : bars.shape[1] // each * each].reshape(len(bars), -1, each)
    made = whole.sum(axis=2)
    made[[TIME, OPEN]] = whole[[TIME, OPEN], :, 0]
    made[HIGH], made[LOW], made[CLOSE] = whole[HIGH].max(axis=1), whole[LOW].min(axis=1), whole[CLOSE, :, -1]
    return made


def closed_of(bars: Floats) -> Mapping[int, Closed]:
    """Each bar ended by an event of its own, as soon as it could."""
    return {t: _closed(bars if t == TIMEFRAME else aggregated(bars, t), t) for t in (TIMEFRAME, *LARGER)}


def _closed(values: Floats, timeframe: int) -> Closed:
    end = values[TIME].astype(np.int64) + timeframe
    position = (end - MINUTE_OF_2024) // TIMEFRAME
    bars = Bars(
        instrument="test:BTC_USD",
        timeframe=timeframe,
        values=values,
        known_time=end * MINUTE_NS,
        position=position,
        input_position=position,
        flags=np.zeros(len(end), dtype=np.int64),
    )
    return Closed(bars, position - timeframe // TIMEFRAME + 1)


def united(voters: Iterable[Voter]) -> list[Feature]:
    """What they look at, each once: a name stands for one feature."""
    found: dict[str, Feature] = {}
    for voter in voters:
        for feature in voter.inputs:
            plain = msgspec.structs.replace(feature, code_version=0)  # a model pins the one that it knew
            assert found.setdefault(feature.name, plain) == plain, f"two features called {feature.name}"
    return list(found.values()) or [Feature(name="unused", rule="return", output="return")]


def rows_of(features: Sequence[Feature], bars: Floats) -> FeatureRows:
    command = DefineSet(name="v", owner="", description="", timeframes=(TIMEFRAME,), features=features)
    (defined,) = decide(command, Versions())
    assert isinstance(defined, SetDefined)
    _, (rows,) = SetPlan(defined).advance({}, closed_of(bars))
    return rows


def view_of(voters: Iterable[Voter], bars: Floats) -> View:
    """All rows of the market, with the features of ``voters`` and context."""
    features = united(voters)
    rows = rows_of(features, bars)
    return View(
        timeframe=TIMEFRAME,
        columns={feature.name: i for i, feature in enumerate(features)},
        values=rows.values,
        bars=np.ascontiguousarray(bars[OPEN : CLOSE + 2].T),
        context=columns_of(len(rows)),
        known_time=rows.known_time,
    )


def row_view(
    bar: Sequence[float] = (100, 101, 99, 100, 5), timeframe: int = TIMEFRAME, **values: float
) -> View:
    """One row; ``__`` in a name stands for a dot. Context that is not given is NaN."""
    given = {name.replace("__", "."): value for name, value in values.items()}
    features = {name: value for name, value in given.items() if name not in CONTEXT}
    return View(
        timeframe=timeframe,
        columns={name: i for i, name in enumerate(features)},
        values=np.array([list(features.values())], dtype=np.float64).reshape(1, -1),
        bars=np.array([bar], dtype=np.float64),
        context={name: np.array([given.get(name, np.nan)]) for name in CONTEXT},
        known_time=np.array([MINUTE_OF_2024 * MINUTE_NS]),
    )


LOGISTIC = ("rsi(period=14)", "adx(period=14).plus_di")


def logistic_model(timeframe: int = TIMEFRAME) -> FittedModel:
    """Falls where the RSI is high, and rises with +DI."""
    return FittedModel(
        name="logistic",
        kind=MODEL_KIND,
        instrument="test:BTC_USD",
        timeframe=timeframe,
        features=LOGISTIC,
        recipe={},
        trained=Trained(
            first_start=0, last_start=10, first_position=1, last_position=2, known_time=10**15, bars=10
        ),
        parameters=logistic_model_parameters(LOGISTIC, [50, 20], [15, 8], [-0.6, 0.2], 0.05),
    )


MODELS = {
    MODEL_KIND: logistic_model,
    learned.MODEL_KIND: learned_model,
}  # one of each kind of model that our voters need


def all_of_ours() -> list[Kind]:
    """The kinds of voters that come with the package."""
    return [
        kind for kind in kinds().values() if kind.make.__module__.startswith("alphapulse.domain.decision.")
    ]


def ours() -> list[Kind]:
    """Those that numbers can make, or a model of MODELS."""
    return [kind for kind in all_of_ours() if not kind.model or kind.model in MODELS]


def made(kind: Kind, **numbers: float) -> Voter:
    return kind.made(numbers, MODELS[kind.model]() if kind.model else None)


def steady(closes: Sequence[float], *, volume: float = 10.0) -> Floats:
    """Bars that open at the last close, with shadows of a tenth of a percent."""
    close = np.array(closes, dtype=np.float64)
    opened = np.concatenate([close[:1], close[:-1]])
    high, low = np.maximum(opened, close) * 1.001, np.minimum(opened, close) * 0.999
    return in_five_minutes(from_ohlcv(opened, high, low, close, np.full(len(close), volume)))
