"""Patterns, signals and anomalies at the known bars: what was detected, around what, and how reliable it was.

Source: the table known_bars. Everything is computed on request from bars as they were when they ended, as of
any position of the log. Reliability counts outcomes over the bars before (at most HISTORY), in the regime
of each detection: a detection's own record holds what was resolved at its bar, never what came later.
"""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
from psycopg import AsyncConnection

from alphapulse.domain.analysis.bars import Bars
from alphapulse.domain.analysis.confirmation import Confirmation, confirm
from alphapulse.domain.analysis.context import Around, context
from alphapulse.domain.analysis.detections import Detections
from alphapulse.domain.analysis.fields import CLOSE, Floats, Int64s
from alphapulse.domain.analysis.panel import Plan, compute
from alphapulse.domain.analysis.registry import Spec
from alphapulse.domain.analysis.reliability import Reliability, reliability_table
from alphapulse.domain.analysis.signals import reasons
from alphapulse.domain.analysis.track_record import TrackRecord, track_records
from alphapulse.domain.market.timeframes import LABELS
from alphapulse.projections.analysis_queries import Span, bars_with_lead, values_of
from alphapulse.projections.candle_view import QueryTooLarge, snapshot
from alphapulse.projections.known_bars import known_bars

HISTORY = 20_000  # bars before the first one asked for
OTHER_BARS = 2_000  # of each other timeframe, for the trend there
MAX_FOUND = 5_000  # detections in one answer


@cache
def _regime() -> Spec:
    return Spec.of("regime")


@cache
def _atr() -> Spec:
    return Spec.of("atr")


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """What is looked for. ``specs`` have an output ``signal`` or ``flag``, some also ``strength``."""

    specs: Sequence[Spec]
    span: Span
    horizon: int = 10  # bars until the outcome
    min_strength: float = 0.0
    with_context: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Detected:
    """One detection."""

    spec: Spec
    row: int  # of the bars asked for
    direction: int  # 1, -1; 0: neither
    signal: float
    strength: float  # 0 to 1; NaN where it has none
    regime: int | None  # see indicators.regime
    around: Around | None
    confirmation: Confirmation | None
    record: tuple[TrackRecord, int] | None  # what was known of earlier ones, and its row there
    reasons: Sequence[str] = ()  # of a signal: its rule, with the values


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    bars: Bars  # those asked for
    detected: Sequence[Detected]  # by bar, then in the order of the specs
    reliability: Sequence[Reliability]  # as of the last bar, one for each spec that was ever detected
    history: int  # bars before those asked for, that reliability looked at as well
    position: int


async def detections(
    conn: AsyncConnection[Any],
    instrument: str,
    timeframe: int,
    question: Question,
    *,
    as_of: int | None = None,
) -> Found:
    """What ``question`` asks for, as known at ``as_of``.

    Raises:
        QueryTooLarge: too many bars, or over MAX_FOUND detections.
        NotYetFolded: ``as_of`` lies ahead.
        BadDetections: the horizon is out of bounds.
    """
    async with snapshot(conn):
        bars, lead, position = await bars_with_lead(
            conn, instrument, timeframe, question.span, lead=HISTORY, as_of=as_of
        )
        others = [
            await known_bars(conn, instrument, other, last=OTHER_BARS, as_of=as_of)
            for other in LABELS
            if other != timeframe and question.with_context and len(bars)
        ]
    return await asyncio.to_thread(_found, bars, lead, position, question, [o for o in others if len(o)])


def _found(bars: Bars, lead: int, position: int, question: Question, others: Sequence[Bars]) -> Found:
    shown = bars.take(slice(lead, None))
    if not len(bars):
        return Found(bars=shown, detected=[], reliability=[], history=0, position=position)
    plan = Plan(dict.fromkeys([*question.specs, _regime(), _atr()]))
    columns = dict(zip(plan.columns, values_of(plan, bars, 0), strict=True))
    market = _Market(bars, lead, columns, question)
    around = None
    if question.with_context:
        pairs = [(other, compute([_atr()], other.values)[0]) for other in others]
        around = context(bars, columns[str(_atr())], pairs)
    detected: list[Detected] = []
    measured: dict[str, Detections] = {}
    everywhere = {spec: market.find(spec) for spec in question.specs}
    directions = {str(spec): directed for spec, (_, directed) in everywhere.items()}
    records = track_records(directions, market.closes, question.horizon, regimes=market.regimes)
    for spec, (found, directed) in everywhere.items():
        record = records[str(spec)]
        if len(directed):
            measured[str(spec)] = directed
        rows = {int(bar): i for i, bar in enumerate(directed.bars)}
        for bar, signal, strength in found:
            nearby = None if around is None else around.row(bar)
            direction = int(np.sign(signal))
            detected.append(
                Detected(
                    spec=spec,
                    row=bar - lead,
                    direction=direction,
                    signal=signal,
                    strength=strength,
                    regime=market.regime(bar),
                    around=nearby,
                    confirmation=None if nearby is None else confirm(direction, nearby),
                    record=(record, rows[bar]) if bar in rows else None,
                    reasons=market.reasons(spec, bar),
                )
            )
        if len(detected) > MAX_FOUND:
            raise QueryTooLarge(f"over {MAX_FOUND} detections in {len(shown)} bars: ask for fewer")
    table = reliability_table(
        measured, market.closes, horizons=[question.horizon], regimes=market.regimes
    ) if measured else []  # fmt: skip
    detected.sort(key=lambda d: d.row)
    return Found(bars=shown, detected=detected, reliability=table, history=lead, position=position)


@dataclass(frozen=True, slots=True)
class _Market:
    bars: Bars
    lead: int
    columns: Mapping[str, Floats]
    question: Question

    @property
    def closes(self) -> Floats:
        closes: Floats = self.bars.values[CLOSE]
        return closes

    @property
    def regimes(self) -> Int64s:
        """Labels from 0 on; -1 where no regime is known yet."""
        codes = self.columns[_regime().columns[0]]
        labels: Int64s = np.where(np.isnan(codes), -1, np.nan_to_num(codes) + 1).astype(np.int64)
        return labels

    def regime(self, bar: int) -> int | None:
        code = self.columns[_regime().columns[0]][bar]
        return None if np.isnan(code) else int(code)

    def reasons(self, spec: Spec, bar: int) -> Sequence[str]:
        if spec.known.kind != "signal":
            return ()
        outputs = zip(spec.known.outputs, spec.columns, strict=True)
        values = {output.name: float(self.columns[column][bar]) for output, column in outputs}
        return reasons(spec.indicator, values, dict(zip(_names(spec), spec.params, strict=True)))

    def find(self, spec: Spec) -> tuple[list[tuple[int, float, float]], Detections]:
        """Bar, signal and strength in the bars asked for; and all there are, to be measured."""
        outputs = dict(zip((o.name for o in spec.known.outputs), spec.columns, strict=True))
        signal = np.nan_to_num(self.columns[outputs.get("signal") or outputs["flag"]])
        strength = (
            self.columns[outputs["strength"]] if "strength" in outputs else np.full(len(signal), np.nan)
        )
        if self.question.min_strength > 0:
            signal = np.where(strength >= self.question.min_strength, signal, 0.0)
        at = np.flatnonzero(signal[self.lead :]) + self.lead
        rows = [(int(bar), float(signal[bar]), float(strength[bar])) for bar in at]
        return rows, Detections.of(signal)


def _names(spec: Spec) -> list[str]:
    return [parameter.name for parameter in spec.known.parameters]
