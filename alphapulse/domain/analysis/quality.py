"""Whether the features of a series can still be trusted: drift, holes, age, range.

The last rows of a series are held against the rows before them. What is too little to judge is said to
be so, never passed or failed. A feature in units of price or volume moves with the market: its drift is
left unjudged, and its range as well, unless the registry bounds it.
"""

import dataclasses
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from alphapulse.domain.analysis.drift import ks, present, psi
from alphapulse.domain.analysis.feature_rows import FeatureRows
from alphapulse.domain.analysis.features import WARMING
from alphapulse.domain.analysis.fields import Floats
from alphapulse.domain.market.timeframes import MINUTE_NS

CHECKS = ("psi", "ks", "missing", "range", "stale")
WHOLE_ROW = ""  # stands for the feature where a check is about rows as such


class BadThreshold(ValueError):
    """No such threshold, or a value outside its range."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Thresholds:
    """What is still good. A check breaches when its value is over, drift when it is at or over."""

    psi: float = 0.25  # by convention a shift
    ks_effect: float = 0.2  # distance of the distributions; a p-value alone says little of many rows
    ks_alpha: float = 0.001  # and so improbable it must be
    missing_ratio: float = 0.0  # rows without a value, once warm
    range_ratio: float = 0.0  # rows outside the bounds that the registry declares
    spread_ratio: float = 0.05  # rows farther than its whole span outside the reference's range
    stale_bars: float = 10.0  # age of the last bar's end by the venue's clock
    window: int = 500  # rows that are judged
    reference: int = 5_000  # rows before them, which they are held against
    min_rows: int = 200  # with fewer on either side nothing is judged

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            low, high = _RANGES.get(field.name, (0.0, 1.0))
            if not low <= value <= high:
                raise BadThreshold(f"{field.name} {value:g} needs {low:g} to {high:g}")

    @classmethod
    def parse(cls, text: str) -> "Thresholds":
        """``psi=0.3,stale_bars=20``: what is not named keeps its default. Raises BadThreshold."""
        given: dict[str, float] = {}
        known = {field.name: field.type for field in dataclasses.fields(cls)}
        for part in filter(None, (p.strip() for p in text.split(","))):
            name, _, value = part.partition("=")
            if name not in known:
                raise BadThreshold(f"{name!r} is no threshold: there are {', '.join(known)}")
            try:
                given[name] = int(value) if known[name] is int else float(value)
            except ValueError:
                raise BadThreshold(f"{part!r}: {value!r} is no number") from None
        return cls(**given)  # type: ignore[arg-type]


_RANGES: dict[str, tuple[float, float]] = {
    "psi": (0.0, 100.0),
    "stale_bars": (0.0, 1e9),
    "window": (1, 100_000),
    "reference": (1, 1_000_000),
    "min_rows": (20, 100_000),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """What a definition says of one feature. ``is_free``: prices and volumes times c leave it as it is."""

    name: str
    is_free: bool
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One check of one feature. ``breached`` is None where it could not be judged; ``detail`` says why."""

    instrument: str
    timeframe: int
    feature: str
    check: str
    value: float | None
    threshold: float
    breached: bool | None
    rows: int  # judged
    reference_rows: int
    detail: str = ""

    @property
    def key(self) -> tuple[str, int, str, str]:
        return self.instrument, self.timeframe, self.feature, self.check


def assess(
    facts: Sequence[Facts],
    rows: FeatureRows,
    *,
    clock: int,
    thresholds: Thresholds,
    window: int | None = None,
) -> list[Finding]:
    """Every check of every feature over ``rows`` of one series, oldest first.

    Of the rows that are warm the last ``window`` (by default that of ``thresholds``) are judged, those before
    are the reference. ``clock``: ns, how far the venue's clock has come.
    """
    values = rows.values[rows.flags & WARMING == 0]
    split = max(0, len(values) - (thresholds.window if window is None else window))
    judge = _Judge(rows, split, thresholds)
    found = [judge.stale(clock)]
    for column, fact in enumerate(facts):
        found += judge.feature(fact, values[:, column])
    return found


@dataclass(frozen=True, slots=True)
class _Judge:
    rows: FeatureRows
    split: int  # of the warm ones, where those begin that are judged
    limits: Thresholds

    def stale(self, clock: int) -> Finding:
        limit = self.limits.stale_bars
        if not len(self.rows):
            return self._unjudged(WHOLE_ROW, "stale", limit, "no rows", 0, 0)
        end = (int(self.rows.start[-1]) + self.rows.timeframe) * MINUTE_NS
        age = max(0.0, (clock - end) / (self.rows.timeframe * MINUTE_NS))
        return self._finding(WHOLE_ROW, "stale", age, limit, age > limit, 1, 0, f"{age:.1f} bars old")

    def feature(self, fact: Facts, values: Floats) -> Iterator[Finding]:
        reference, current = values[: self.split], values[self.split :]
        yield self._missing(fact, current)
        yield self._range(fact, present(reference), present(current))
        yield from self._drift(fact, present(reference), present(current))

    def _missing(self, fact: Facts, current: Floats) -> Finding:
        limit, count = self.limits.missing_ratio, len(current)
        if not count:
            return self._unjudged(fact.name, "missing", limit, "no rows", 0, 0)
        gone = count - len(present(current))
        ratio = gone / count
        return self._finding(
            fact.name, "missing", ratio, limit, ratio > limit, count, 0, f"{gone} of {count}"
        )

    def _range(self, fact: Facts, reference: Floats, current: Floats) -> Finding:
        """Out of declared bounds; else far outside of what the reference has seen."""
        if fact.low is not None or fact.high is not None:
            low = -np.inf if fact.low is None else fact.low
            high = np.inf if fact.high is None else fact.high
            return self._outside(fact, current, low, high, self.limits.range_ratio, "declared", 0)
        limit = self.limits.spread_ratio
        if reason := self._too_little(fact, reference, current):
            return self._unjudged(fact.name, "range", limit, reason, len(current), len(reference))
        low, high = float(reference.min()), float(reference.max())
        span = high - low
        return self._outside(fact, current, low - span, high + span, limit, "seen", len(reference))

    def _outside(
        self, fact: Facts, current: Floats, low: float, high: float, limit: float, word: str, reference: int
    ) -> Finding:
        count = len(current)
        if not count:
            return self._unjudged(fact.name, "range", limit, "no values", 0, reference)
        out = int(np.count_nonzero((current < low) | (current > high)))
        detail = f"{out} of {count} outside {low:g} to {high:g} ({word})"
        ratio = out / count
        return self._finding(fact.name, "range", ratio, limit, ratio > limit, count, reference, detail)

    def _drift(self, fact: Facts, reference: Floats, current: Floats) -> Iterator[Finding]:
        t, sizes = self.limits, (len(current), len(reference))
        if reason := self._too_little(fact, reference, current):
            yield self._unjudged(fact.name, "psi", t.psi, reason, *sizes)
            yield self._unjudged(fact.name, "ks", t.ks_effect, reason, *sizes)
            return
        index, test = psi(reference, current), ks(reference, current)
        moved = test.effect >= t.ks_effect and test.p_value < t.ks_alpha
        yield self._finding(fact.name, "psi", index, t.psi, index >= t.psi, *sizes, "")
        yield self._finding(
            fact.name, "ks", test.effect, t.ks_effect, moved, *sizes, f"p = {test.p_value:.3g}"
        )

    def _too_little(self, fact: Facts, reference: Floats, current: Floats) -> str:
        """Why a comparison says nothing; empty when it does say something."""
        if not fact.is_free:
            return "moves with prices or volumes"
        if min(len(reference), len(current)) < self.limits.min_rows:
            return f"{len(current)} values against {len(reference)}, {self.limits.min_rows} each are needed"
        return ""

    def _finding(
        self,
        feature: str,
        check: str,
        value: float,
        threshold: float,
        breached: bool | None,
        rows: int,
        reference_rows: int,
        detail: str,
    ) -> Finding:
        return Finding(
            instrument=self.rows.instrument,
            timeframe=self.rows.timeframe,
            feature=feature,
            check=check,
            value=float(value),
            threshold=threshold,
            breached=None if breached is None else bool(breached),
            rows=rows,
            reference_rows=reference_rows,
            detail=detail,
        )

    def _unjudged(
        self, feature: str, check: str, threshold: float, reason: str, rows: int, reference_rows: int
    ) -> Finding:
        found = self._finding(feature, check, 0.0, threshold, None, rows, reference_rows, reason)
        return dataclasses.replace(found, value=None)
