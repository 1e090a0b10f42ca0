"""What voters are asked about: features of closed bars, in sets, as views; and their votes as numbers.

One set of features holds what the engine itself looks at and all that voters without a fitted model do. A
voter with a model has a set of its own, which begins when its first model does: what the others see does
not change by it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import msgspec
import numpy as np

from alphapulse.domain.analysis.bars import FEED_DOWN
from alphapulse.domain.analysis.closing import Closed
from alphapulse.domain.analysis.feature_rows import FeatureRows, SetPlan
from alphapulse.domain.analysis.features import (
    OUT_OF_ORDER,
    WARMING,
    BadFeatureSet,
    DefineSet,
    Feature,
    SetDefined,
    decide,
    problem_of,
)
from alphapulse.domain.analysis.fields import Floats, Int64s
from alphapulse.domain.analysis.indicators.regime import DOWN
from alphapulse.domain.analysis.models import FittedModel
from alphapulse.domain.decision.consensus import SILENT
from alphapulse.domain.decision.strategy import StrategyDefined, VoterChoice
from alphapulse.domain.decision.strategy_limits import MAX_SEATS
from alphapulse.domain.decision.votes import CONTEXT, BadVoter, BadVoterModel, View, Vote, Voter, kind_of
from alphapulse.domain.versions import Versions

VOTED = 4_096  # rows that are voted on at once

REFUSED_FLAGS = WARMING | FEED_DOWN | OUT_OF_ORDER  # a row with one of these is not decided

MAX_REASON = 500  # characters of why a seat is empty, in every decision

LOW_RANK, HIGH_RANK = 0.2, 0.8  # of the volatility among its past values
LOW_RATIO, HIGH_RATIO = 0.5, 2.0  # of the volume to its average

ATR, REGIME, RANK, VOLUME, SWING_HIGH, SWING_LOW = (
    "engine.atr",
    "engine.regime",
    "engine.rank",
    "engine.volume",
    "engine.swing_high",
    "engine.swing_low",
)
OWN = (
    Feature(name=ATR, rule="atr", output="atr"),
    Feature(name=REGIME, rule="regime", output="regime"),
    Feature(name=RANK, rule="regime", output="rank"),
    Feature(name=VOLUME, rule="volume_ratio", output="volume_ratio"),
)


class CannotRun(ValueError):
    """A strategy that this code cannot run as it was defined: the message says why."""


@dataclass(frozen=True, slots=True)
class Seat:
    """One voter at its place. ``voter`` is None while the model that it needs is missing.

    ``set`` is the key of its features: the seat's name where it has a model, else empty. ``absent``: why
    there is no voter.
    """

    choice: VoterChoice
    voter: Voter | None
    set: str
    model: str = ""  # name.version
    absent: str = ""


def seats_of(
    strategy: StrategyDefined, models: Mapping[str, FittedModel], versions: Mapping[str, int]
) -> tuple[Seat, ...]:
    """
    Raises:
        CannotRun: a kind that is not there, of another version, or with other parameters; too many voters.
    """
    if not 1 <= len(strategy.voters) <= MAX_SEATS:
        raise CannotRun(f"{strategy.name}: {len(strategy.voters)} voters, 1 to {MAX_SEATS} can be run")
    return tuple(_seat(choice, models, versions) for choice in strategy.voters)


def _seat(choice: VoterChoice, models: Mapping[str, FittedModel], versions: Mapping[str, int]) -> Seat:
    absent = f"there is no model {choice.model} yet"
    try:
        kind = kind_of(choice.kind)
        model = models.get(choice.model) if kind.model else None
        voter = kind.made(choice.parameters, model) if model or not kind.model else None
    except BadVoterModel as error:
        # Whoever refits a model must not be able to stop a strategy by it: the others go on.
        voter, absent = None, f"refused: {error}"[:MAX_REASON]
    except BadVoter as error:
        raise CannotRun(f"voter {choice.name}: {error}") from None
    if voter is not None and choice.version and voter.version != choice.version:
        raise CannotRun(
            f"voter {choice.name}: defined with version {choice.version} of {choice.kind}, "
            f"this code has version {voter.version}"
        )
    label = f"{choice.model}.{versions.get(choice.model, 0)}" if model else ""
    return Seat(choice, voter, choice.name if kind.model else "", label, "" if voter else absent)


@dataclass(frozen=True, slots=True)
class Lookout:
    """The features of one set on rows of one timeframe. ``columns``: by seat (or "" for ours) and name."""

    plan: SetPlan
    columns: Mapping[str, Mapping[str, int]]


def lookouts(
    strategy: StrategyDefined, seats: Sequence[Seat]
) -> tuple[Mapping[tuple[str, int], Lookout], Mapping[str, str]]:
    """By set and timeframe; and for each set what tells its features from others.

    Raises:
        CannotRun: a voter looks at features that cannot be made.
    """
    own = [*OWN, *_swings(strategy)]
    wanted = {"": {"": own}}
    for seat in seats:
        if seat.voter is not None:
            wanted.setdefault(seat.set, {})[seat.choice.name] = list(seat.voter.inputs)
    found: dict[tuple[str, int], Lookout] = {}
    for key, by_seat in wanted.items():
        for timeframe in sorted(strategy.timeframes):
            found[key, timeframe] = _lookout(timeframe, by_seat)
    digests = {key: "".join(found[key, t].plan.defined.digest for t in strategy.timeframes) for key in wanted}
    return found, digests


def _swings(strategy: StrategyDefined) -> list[Feature]:
    """Swing points are only looked at by geometries that move to them."""
    if not any(geometry.to_levels for geometry in strategy.geometries):
        return []
    sides = ((SWING_HIGH, "high"), (SWING_LOW, "low"))
    return [Feature(name=name, rule="last_swings", output=output) for name, output in sides]


def _lookout(timeframe: int, by_seat: Mapping[str, Sequence[Feature]]) -> Lookout:
    places: dict[bytes, int] = {}
    features: list[Feature] = []
    columns: dict[str, dict[str, int]] = {}
    for seat, inputs in by_seat.items():
        columns[seat] = {}
        for feature in inputs:
            identity = msgspec.json.encode(_complete(seat, timeframe, feature), order="sorted")
            if identity not in places:
                places[identity] = len(features)
                features.append(msgspec.structs.replace(feature, name=f"f{len(features)}"))
            columns[seat][feature.name] = places[identity]
    defined = _defined("the voters together", timeframe, features)
    return Lookout(SetPlan(defined), columns)


def _complete(seat: str, timeframe: int, feature: Feature) -> Feature:
    """``feature`` with all that its values depend on, and no name of its own."""
    who = f"voter {seat} looks at {feature.name!r}"
    (complete,) = _defined(who, timeframe, [msgspec.structs.replace(feature, name="f")]).features
    return complete


def _defined(who: str, timeframe: int, features: Sequence[Feature]) -> SetDefined:
    command = DefineSet(
        name="engine", owner="engine", description="", timeframes=(timeframe,), features=features
    )
    try:
        (defined,) = decide(command, Versions())
    except BadFeatureSet as error:
        raise CannotRun(f"{who}: {error}") from None
    assert isinstance(defined, SetDefined)
    versions = [f.code_version for f in features]
    asked = [
        msgspec.structs.replace(f, code_version=v or f.code_version)
        for f, v in zip(defined.features, versions, strict=True)
    ]
    problem = problem_of(msgspec.structs.replace(defined, features=tuple(asked)))
    if problem:
        raise CannotRun(f"{who}: {problem}")
    return defined


@dataclass(frozen=True, slots=True, eq=False)
class Sheet:
    """Rows of one timeframe, of one or several markets one after the other, ready to be voted on."""

    timeframe: int
    values: Mapping[str, Floats]  # (R, F) by set
    flags: Mapping[str, Int64s]  # (R,) by set
    bars: Floats  # (R, 5)
    context: Mapping[str, Floats]
    known_time: Int64s
    position: Int64s
    start: Int64s
    first_position: Int64s
    input_position: Int64s

    def __len__(self) -> int:
        return len(self.bars)

    def take(self, rows: Int64s) -> "Sheet":
        """A copy, only ``rows``."""
        return Sheet(
            timeframe=self.timeframe,
            values={key: values[rows] for key, values in self.values.items()},
            flags={key: flags[rows] for key, flags in self.flags.items()},
            bars=self.bars[rows],
            context={name: column[rows] for name, column in self.context.items()},
            known_time=self.known_time[rows],
            position=self.position[rows],
            start=self.start[rows],
            first_position=self.first_position[rows],
            input_position=self.input_position[rows],
        )


@dataclass(slots=True)
class Ballot:
    """The votes on a sheet: ``signed`` (R, V), and what each said of every VOTED rows, for its reasons."""

    signed: Floats
    said: list[list[Vote | None]] = field(default_factory=list)

    def reasons(self, place: int, row: int) -> tuple[str, ...]:
        """Of a voter that was asked."""
        vote = self.said[row // VOTED][place]
        return tuple(vote.reasons(row % VOTED)) if vote is not None else ()


def ballot(sheet: Sheet, seats: Sequence[Seat], found: Mapping[tuple[str, int], Lookout]) -> Ballot:
    """Ask everybody. Who has no model abstains, as does one whose own features are not there yet."""
    result = Ballot(np.zeros((len(sheet), len(seats))))
    for begin in range(0, len(sheet), VOTED):
        here = slice(begin, begin + VOTED)
        result.said.append(_asked(sheet, here, seats, found, result.signed[here]))
    signed = result.signed
    signed[~(np.abs(signed) >= SILENT)] = 0.0
    np.clip(signed, -1.0, 1.0, out=signed)
    return result


def _asked(
    sheet: Sheet,
    here: slice,
    seats: Sequence[Seat],
    found: Mapping[tuple[str, int], Lookout],
    signed: Floats,
) -> list[Vote | None]:
    """What everybody says of the rows ``here``; ``signed`` takes it as numbers."""
    # Voters look at one column after the other: each lies together.
    values = {key: _by_columns(of_set[here]) for key, of_set in sheet.values.items()}
    bars = _by_columns(sheet.bars[here])
    context = {name: column[here] for name, column in sheet.context.items()}
    said: list[Vote | None] = []
    for place, seat in enumerate(seats):
        if seat.voter is None:
            said.append(None)
            continue
        view = View(
            timeframe=sheet.timeframe,
            columns=found[seat.set, sheet.timeframe].columns[seat.choice.name],
            values=values[seat.set],
            bars=bars,
            context=context,
            known_time=sheet.known_time[here],
        )
        vote = seat.voter.vote(view)
        np.multiply(vote.direction, vote.score, out=signed[:, place])
        if seat.set:
            signed[sheet.flags[seat.set][here] & REFUSED_FLAGS != 0, place] = 0.0
        said.append(vote)
    return said


def _by_columns(table: Floats) -> Floats:
    return table if table.strides[0] == table.itemsize else np.asfortranarray(table)


class Adaptations:
    """Which of a strategy's adaptations a row asks for: 0 for none, n for the n-th; the first that fits."""

    def __init__(self, strategy: StrategyDefined) -> None:
        self._strategy = strategy

    @cached_property
    def _names(self) -> tuple[str, ...]:
        return ("trend_down", "range", "trend_up", "turbulence")

    def wanted(self, regimes: Int64s, ranks: Floats, ratios: Floats) -> Int64s:
        found = np.zeros(len(regimes), dtype=np.int64)
        for n, adaptation in reversed(list(enumerate(self._strategy.adaptations, 1))):
            fits = np.ones(len(regimes), dtype=bool)
            if adaptation.regimes:
                codes = [self._names.index(name) for name in adaptation.regimes]
                fits &= np.isin(regimes, codes)
            for how, values, low, high in (
                (adaptation.volatility, ranks, LOW_RANK, HIGH_RANK),
                (adaptation.volume, ratios, LOW_RATIO, HIGH_RATIO),
            ):
                if how:
                    fits &= values < low if how == "low" else values > high
            found[fits] = n
        return found


def regime_codes(regimes: Floats) -> Int64s:
    """0 to 3, in the order of regime.NAMES; 0 where there is none yet."""
    return np.nan_to_num(regimes - DOWN, nan=0.0).astype(np.int64)


def sheet_of(
    timeframe: int,
    rows: Sequence[Mapping[str, FeatureRows]],
    closed: Sequence[Closed],
    contexts: Sequence[Mapping[str, Floats]],
) -> Sheet:
    """The rows of several markets below each other: for each its rows by set, its bars and its context."""
    bars = [c.bars.values[1:6].T for c in closed]
    names = {name for context in contexts for name in context}
    context = {name: _column(name, contexts, closed) for name in sorted({*CONTEXT, *names})}
    keys = list(rows[0])
    return Sheet(
        timeframe=timeframe,
        values={key: _joined([r[key].values for r in rows]) for key in keys},
        flags={key: _joined([r[key].flags for r in rows]) for key in keys},
        bars=_joined(bars),
        context=context,
        known_time=_joined([r[""].known_time for r in rows]),
        position=_joined([r[""].position for r in rows]),
        start=_joined([r[""].start for r in rows]),
        first_position=_joined([r[""].first_position for r in rows]),
        input_position=_joined([r[""].input_position for r in rows]),
    )


def _column(name: str, contexts: Sequence[Mapping[str, Floats]], closed: Sequence[Closed]) -> Floats:
    found: Floats = _joined(
        [
            context[name] if name in context else np.full(len(c.bars), np.nan)
            for context, c in zip(contexts, closed, strict=True)
        ]
    )
    return found


def _joined(parts: Sequence[Any]) -> Any:
    return parts[0] if len(parts) == 1 else np.concatenate(parts)
