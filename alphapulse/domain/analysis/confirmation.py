"""Whether other timeframes and the volume confirm or contradict a detection: counted voices, with reasons."""

from collections.abc import Iterator
from dataclasses import dataclass

from alphapulse.domain.analysis.context import Around, ContextRules


@dataclass(frozen=True, slots=True, kw_only=True)
class Confirmation:
    """Who else says so: confirmed, contradicted, divided (as many each way) or alone (nobody speaks)."""

    verdict: str
    supporting: int
    opposing: int
    reasons: tuple[str, ...]


def confirm(direction: int, around: Around, rules: ContextRules | None = None) -> Confirmation:
    """Whether other timeframes and the volume go with a detection (1: up, -1: down) or against it.

    A timeframe with a ``strong`` trend speaks for it when that goes the same way, else against it. Volume
    speaks for it from ``loud`` times the usual, against it up to ``quiet``. All voices weigh the same. The
    trend of its own timeframe has none: patterns of reversal want it the other way.
    """
    rules = rules or ContextRules()
    voices = [*_timeframes(direction, around, rules), *_volume(around.volume_ratio, rules)]
    supporting = sum(side > 0 for side, _ in voices)
    opposing = len(voices) - supporting
    if not voices:
        verdict = "alone"
    elif supporting == opposing:
        verdict = "divided"
    else:
        verdict = "confirmed" if supporting > opposing else "contradicted"
    reasons = tuple(reason for _, reason in voices)
    return Confirmation(verdict=verdict, supporting=supporting, opposing=opposing, reasons=reasons)


def _timeframes(direction: int, around: Around, rules: ContextRules) -> Iterator[tuple[int, str]]:
    for timeframe, rise in sorted(around.others.items()):
        if abs(rise) >= rules.strong:
            side = 1 if rise * direction > 0 else -1
            word = "for" if side > 0 else "against"
            way = "up" if rise > 0 else "down"
            yield side, f"{word}: the {_name(timeframe)} trend is {way}, {abs(rise):.1f} ATR"


def _volume(ratio: float, rules: ContextRules) -> Iterator[tuple[int, str]]:
    if ratio >= rules.loud:
        yield 1, f"for: volume {ratio:.1f} times the usual"
    elif ratio <= rules.quiet:
        yield -1, f"against: volume only {ratio:.1f} times the usual"


def _name(timeframe: int) -> str:
    for unit, minutes in (("w", 10_080), ("d", 1_440), ("h", 60)):
        if timeframe % minutes == 0:
            return f"{timeframe // minutes}{unit}"
    return f"{timeframe}m"
