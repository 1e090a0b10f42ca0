"""What a voter looks at, in a word: so that credit can be summed up over voters that see much the same."""

from collections.abc import Iterable, Mapping

from alphapulse.domain.decision.strategy import StrategyDefined

OF_KINDS: Mapping[str, str] = {
    "fundamental.funding": "funding",
    "fundamental.sentiment": "sentiment",
    "learned.onnx": "models",
    "statistical.forecast": "statistics",
    "statistical.logistic": "models",
    "statistical.momentum": "statistics",
    "statistical.pair": "other markets",
    "statistical.reversion": "statistics",
    "technical.alignment": "trend",
    "technical.breakout": "levels",
    "technical.crossing": "trend",
    "technical.divergence": "momentum",
    "technical.levels": "levels",
    "technical.momentum": "momentum",
    "technical.money_flow": "volume",
    "technical.patterns_continuation": "patterns",
    "technical.patterns_double": "patterns",
    "technical.patterns_single": "patterns",
    "technical.patterns_star": "patterns",
    "technical.round_number": "levels",
    "technical.trend": "trend",
    "technical.volume": "volume",
}


def group_of(kind: str) -> str:
    """The group of a kind of voter; one of another package is in that which its name begins with."""
    return OF_KINDS.get(kind) or kind.partition(".")[0]


def groups_of(strategies: Iterable[StrategyDefined]) -> Mapping[tuple[int, str], str]:
    """The group of every seat, by version and name of the seat. They are versions of one strategy."""
    return {(s.version, seat.name): group_of(seat.kind) for s in strategies for seat in s.voters}
