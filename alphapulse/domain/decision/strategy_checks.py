"""What a definition must be like before it is an event: each rule refuses with the values."""

from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING

from alphapulse.domain.analysis.indicators.regime import NAMES
from alphapulse.domain.decision.strategy import ADAPTABLE, Adaptation, Geometry, change_of
from alphapulse.domain.decision.strategy_limits import (
    CHANGE,
    GATE,
    GEOMETRY,
    LEARNING,
    MAX_ADAPTATIONS,
    MAX_GEOMETRIES,
    MAX_HORIZON_DAYS,
    MAX_INSTRUMENT_LENGTH,
    MAX_INSTRUMENTS,
    MAX_SEATS,
    RISK,
    STRATEGY,
    BadStrategy,
    check_number,
)
from alphapulse.domain.decision.strategy_limits import check as check_ranges
from alphapulse.domain.market.timeframes import LABELS

if TYPE_CHECKING:
    from alphapulse.domain.decision.strategy_decider import DefineStrategy

SIZINGS = ("fixed_fractional", "volatility_target", "kelly")
REGIMES = tuple(NAMES.values())
RANKS = ("", "low", "high")
_DAY_MINUTES = 1_440


def check(command: "DefineStrategy") -> None:
    """Raises BadStrategy."""
    for what, values, ranges in (
        ("", command, STRATEGY),
        ("gate.", command.gate, GATE),
        ("learning.", command.learning, LEARNING),
        ("risk.", command.risk, RISK),
    ):
        check_ranges(what, values, ranges)
    _check_timeframes(command.timeframes)
    _check_seats(command)
    _check_instruments((*command.instruments, *filter(None, [command.reference])), command.instruments)
    _check_windows(command)
    _check_geometries(command.geometries)
    _check_adaptations(command)


def _check_timeframes(given: Sequence[int]) -> None:
    if not given or len(set(given)) < len(given) or not set(given) <= set(LABELS):
        known = ", ".join(f"{minutes} ({label})" for minutes, label in LABELS.items())
        raise BadStrategy(f"timeframes {list(given)} (minutes): each once, at least one, of {known}")


def _check_seats(command: "DefineStrategy") -> None:
    seats = [choice.name for choice in command.voters]
    _check_count("voters", len(seats), MAX_SEATS)
    _check_names("voter", seats)
    if command.quorum > len(seats):
        raise BadStrategy(f"quorum {command.quorum:g} is over the {len(seats)} voters that there are")


def _check_instruments(named: Sequence[str], instruments: Sequence[str]) -> None:
    for name in named:
        venue, colon, symbol = name.partition(":")
        if not (venue and colon and symbol) or len(name) > MAX_INSTRUMENT_LENGTH or "\0" in name:
            raise BadStrategy(
                f"instrument {name!r} is not venue:symbol of at most {MAX_INSTRUMENT_LENGTH} characters"
            )
    if len(instruments) > MAX_INSTRUMENTS:
        raise BadStrategy(f"{len(instruments)} instruments, over {MAX_INSTRUMENTS}: name none for all")
    _check_once("instrument", instruments)


def _check_windows(command: "DefineStrategy") -> None:
    gate, learning, risk = command.gate, command.learning, command.risk
    if gate.breaker_window < gate.breaker_outcomes:
        raise BadStrategy(
            f"gate.breaker_window {gate.breaker_window} never holds {gate.breaker_outcomes} outcomes"
        )
    if learning.window < learning.least:
        raise BadStrategy(f"learning.window {learning.window} never holds {learning.least} candidates")
    if risk.sizing not in SIZINGS:
        raise BadStrategy(f"risk.sizing {risk.sizing!r} is none of {', '.join(SIZINGS)}")
    if risk.min_size_ratio > min(risk.max_size_ratio, risk.max_exposure_ratio):
        raise BadStrategy(
            f"risk.min_size_ratio {risk.min_size_ratio:g} is over the largest size, "
            f"{min(risk.max_size_ratio, risk.max_exposure_ratio):g}"
        )


def _check_geometries(geometries: Sequence[Geometry]) -> None:
    _check_count("geometries", len(geometries), MAX_GEOMETRIES)
    for i, geometry in enumerate(geometries):
        check_ranges(f"geometries[{i}].", geometry, GEOMETRY)
        if geometry in geometries[:i]:
            raise BadStrategy(f"geometries[{i}] is there before: {geometry}")


def _check_adaptations(command: "DefineStrategy") -> None:
    if len(command.adaptations) > MAX_ADAPTATIONS:
        raise BadStrategy(f"{len(command.adaptations)} adaptations, over {MAX_ADAPTATIONS}")
    _check_names("adaptation", [adaptation.name for adaptation in command.adaptations])
    for adaptation in command.adaptations:
        _check_conditions(adaptation)
        for name, value in adaptation.change.items():
            if name not in ADAPTABLE:
                raise BadStrategy(
                    f"adaptation {adaptation.name} changes {name!r}: none of {', '.join(ADAPTABLE)}"
                )
            check_number(f"adaptation {adaptation.name}: {name}", value, CHANGE[name])
    for each in (None, *command.adaptations):
        _check_adapted(command, each)


def _check_conditions(adaptation: Adaptation) -> None:
    if unknown := [regime for regime in adaptation.regimes if regime not in REGIMES]:
        raise BadStrategy(f"adaptation {adaptation.name}: regimes {unknown} are none of {', '.join(REGIMES)}")
    for what in ("volatility", "volume"):
        if getattr(adaptation, what) not in RANKS:
            raise BadStrategy(
                f"adaptation {adaptation.name}: {what} {getattr(adaptation, what)!r} is not low or high"
            )


def _check_adapted(command: "DefineStrategy", adaptation: Adaptation | None) -> None:
    """What it makes of consensus and geometries is in range as well, and no horizon is too far to watch."""
    change, under = change_of(adaptation), f" under adaptation {adaptation.name}" if adaptation else ""
    check_number(
        f"min_consensus{under}", command.min_consensus + change["consensus"], STRATEGY["min_consensus"]
    )
    for i, geometry in enumerate(command.geometries):
        for name in ("stop", "target"):
            field = f"{name}_atr"
            value = getattr(geometry, field) * change[name]
            check_number(f"geometries[{i}].{field}{under}", value, GEOMETRY[field])
        bars = max(1, round(geometry.horizon_bars * change["horizon"]))
        check_number(f"geometries[{i}].horizon_bars{under}", bars, GEOMETRY["horizon_bars"])
        days = bars * max(command.timeframes) / _DAY_MINUTES
        if days > MAX_HORIZON_DAYS:
            raise BadStrategy(
                f"geometries[{i}].horizon_bars{under}: {bars} bars of {LABELS[max(command.timeframes)]} are "
                f"{days:.1f} days, over {MAX_HORIZON_DAYS}"
            )


def _check_count(what: str, count: int, most: int) -> None:
    if not 1 <= count <= most:
        raise BadStrategy(f"{count} {what}: a strategy has 1 to {most}")


def _check_names(what: str, names: Sequence[str]) -> None:
    for name in names:
        if not 1 <= len(name) <= 64 or not name.isprintable():
            raise BadStrategy(f"{what} {name!r} needs a name of 1 to 64 characters that can be printed")
    _check_once(what, names)


def _check_once(what: str, names: Sequence[str]) -> None:
    if twice := sorted(name for name, times in Counter(names).items() if times > 1):
        raise BadStrategy(f"more than one {what} is called {', '.join(twice)}")
