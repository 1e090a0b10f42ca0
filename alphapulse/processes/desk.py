"""One part of one strategy version at work: events of the log in, what is to be recorded out. No I/O.

The engine follows the log from its beginning, so that it has learnt when the strategy is defined. What it
would have decided before the definition is not recorded, and neither is what becomes of that; of its
calibrations only the last one before is, as the first of its stream. From then on the n-th output for a
stream is the n-th event of that stream in the log, whoever derives it, and however often.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec
import numpy as np

from alphapulse.domain.analysis.closing import Fed
from alphapulse.domain.analysis.fields import Int64s
from alphapulse.domain.analysis.models import FittedModel
from alphapulse.domain.decision.decisions import CalibrationFitted
from alphapulse.domain.decision.strategy import StrategyDefined
from alphapulse.domain.market.events import (
    BarsObserved,
    FeedConnected,
    FeedLost,
    GapClosed,
    TradesObserved,
    WatermarkPassed,
)
from alphapulse.domain.signals.engine import ContextSource, Engine, EngineState
from alphapulse.domain.signals.engine_events import DECISION, EXIT, FITTED, NO_OUTPUTS, OUTCOME, Outputs, Told
from alphapulse.domain.signals.engine_pairs import codes_of, keys_of, ordinals_of
from alphapulse.domain.signals.engine_state import BadState
from alphapulse.domain.signals.returns import Returns

FEW = 300  # outputs that are looked at one by one: arrays cost as much as so many


class _Content(msgspec.Struct, frozen=True, kw_only=True):
    """What a desk carries on, as it is kept."""

    engine: bytes
    position: int
    ordinals: dict[str, int]
    open: list[str]
    pending: CalibrationFitted | None
    retired: int | None


def _content(kept: bytes) -> _Content:
    """Raises BadState."""
    try:
        return msgspec.msgpack.decode(kept, type=_Content)
    except msgspec.DecodeError as error:
        raise BadState(f"{len(kept)} bytes are no state of a desk: {error}") from error


@dataclass
class Desk:
    """``since`` is the position of the strategy's definition, ``retired`` that of its retirement."""

    strategy: StrategyDefined
    since: int
    part: int
    engine: Engine
    returns: Returns
    retired: int | None = None
    position: int = 0  # the log is folded up to here
    ordinals: dict[str, int] = field(default_factory=dict)  # by market; "": of calibrations
    open: set[str] = field(default_factory=set)  # decisions recorded and not yet resolved
    pending: CalibrationFitted | None = None  # the last one before the definition
    _codes: dict[str, int] = field(default_factory=dict)  # numbers of markets, while it runs

    @classmethod
    def begun(
        cls,
        strategy: StrategyDefined,
        since: int,
        part: int,
        contexts: Sequence[ContextSource] = (),
        kept: bytes | None = None,
        models: Mapping[str, FittedModel] | None = None,
        model_versions: Mapping[str, int] | None = None,
    ) -> "Desk":
        """A desk at the beginning of the log, or where ``kept`` was made, with the models known there.

        Raises:
            CannotRun: this code cannot run the strategy.
            BadState: ``kept`` is of another strategy, or damaged.
        """
        content = None if kept is None else _content(kept)
        returns = Returns(min(strategy.timeframes))
        engine = Engine(
            strategy,
            models=models,
            versions=model_versions,
            part=part,
            contexts=(*contexts, returns),
            state=EngineState.unpacked(content.engine) if content else None,
        )
        desk = cls(strategy, since, part, engine, returns)
        if content:
            desk.position, desk.ordinals, desk.open = content.position, content.ordinals, set(content.open)
            desk.pending, desk.retired = content.pending, content.retired
        return desk

    def packed(self) -> bytes:
        """All that the desk carries on, as of ``position``."""
        self.returns.settled = self.position
        content = _Content(
            engine=self.engine.packed(),
            position=self.position,
            ordinals=self.ordinals,
            open=sorted(self.open),
            pending=self.pending,
            retired=self.retired,
        )
        return msgspec.msgpack.encode(content)

    @property
    def is_over(self) -> bool:
        """Retired, and nothing is left to be watched."""
        return self.retired is not None and self.position >= self.retired and not self.open

    def wants(self, event: object) -> bool:
        """Whether the event is this part's business."""
        if not isinstance(event, Fed):
            return True
        instrument = market_of(event)
        return instrument == self.strategy.reference or self.engine.decides_on(instrument)

    def take(self, events: Sequence[tuple[int, str, Any]], upto: int) -> Outputs:
        """What follows from ``events`` (position, stream, event), the next ones of the log up to ``upto``.

        Ordinals are those of the streams in the log. No event is made of what follows before somebody asks
        for it (see engine_events.py). After an exception the desk is of no use any more.
        """
        mine = [(at, market_of(event), event) for at, _, event in events if self.wants(event)]
        due = self._due(self.engine.advance(mine))
        if upto >= self.since:
            due = due + self._first_calibration(upto)
        self.position = self.returns.settled = upto
        return due

    def _due(self, given: Outputs) -> Outputs:
        """What is to be recorded of ``given``."""
        is_early = given.positions <= self.since
        fitted = np.flatnonzero(is_early & (given.kinds == FITTED))
        if len(fitted):
            event = given[int(fitted[-1])].event
            assert isinstance(event, CalibrationFitted)
            self.pending = event
        if is_early.all():
            return NO_OUTPUTS
        late = given.take(np.flatnonzero(~is_early))
        return self._first_calibration(int(late.positions[0])) + self._recorded(late)

    def _recorded(self, given: Outputs) -> Outputs:
        """Of what comes after the definition: all up to the retirement, then what becomes of it."""
        return self._few(given) if len(given) <= FEW else self._many(given)

    def _few(self, given: Outputs) -> Outputs:
        rows, ordinals = list[int](), list[int]()
        for row, output in enumerate(given):
            if output.kind == OUTCOME:
                if output.decision not in self.open:
                    continue
                self.open.discard(output.decision)
            elif self.retired is not None and output.position > self.retired:
                continue
            elif output.kind == DECISION:
                self.open.add(output.decision)
            ordinal = self.ordinals.get(output.instrument, 0) + (output.kind != EXIT)
            self.ordinals[output.instrument] = ordinal
            rows.append(row)
            ordinals.append(ordinal)
        return given.take(np.array(rows, dtype=np.int64), np.array(ordinals, dtype=np.int64))

    def _many(self, given: Outputs) -> Outputs:
        for block in given.blocks:
            self._codes.setdefault(block.instrument, len(self._codes))
        codes, kinds = codes_of(given, self._codes), given.kinds
        closes, due = kinds == OUTCOME, kinds != OUTCOME
        if self.retired is not None:
            due &= given.positions <= self.retired
        keys, opens = keys_of(given, codes), due & (kinds == DECISION)
        # Most are over within the call: ids are only made of what is carried on.
        due[closes] = np.isin(keys[closes], keys[opens])
        for row in np.flatnonzero(closes & ~due).tolist():
            due[row] = given[row].decision in self.open
            self.open.discard(given[row].decision)
        opens[opens] = ~np.isin(keys[opens], keys[closes])
        self.open |= {given[row].decision for row in np.flatnonzero(opens).tolist()}
        return self._numbered(given.take(np.flatnonzero(due)), codes[due])

    def _numbered(self, outputs: Outputs, codes: Int64s) -> Outputs:
        last = np.array([self.ordinals.get(name, 0) for name in self._codes], dtype=np.int64)
        ordinals = ordinals_of(outputs.kinds, codes, last)
        self.ordinals |= {name: n for name, n in zip(self._codes, last.tolist(), strict=True) if n}
        return outputs.take(slice(None), ordinals)

    def _first_calibration(self, position: int) -> Outputs:
        if self.pending is None:
            return NO_OUTPUTS
        event, self.pending = self.pending, None
        self.ordinals[""] = self.ordinals.get("", 0) + 1
        return Outputs.of([Told(position, "", self.ordinals[""], event)])


def market_of(event: Any) -> str:
    """venue:symbol of an event of a market; empty for one of something else."""
    match event:
        case TradesObserved() | BarsObserved():
            return str(event.instrument)
        case FeedConnected() | FeedLost() | GapClosed() | WatermarkPassed():
            return f"{event.venue}:{event.symbol}"
        case _:
            return ""
