"""One part of one strategy version at work: events of the log in, what is to be recorded out. No I/O.

The engine follows the log from its beginning, so that it has learnt when the strategy is defined. What it
would have decided before the definition is not recorded, and neither is what becomes of that; of its
calibrations only the last one before is, as the first of its stream. From then on the n-th event of a stream
here is the n-th event of that stream in the log, whoever derives it, and however often.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec

from alphapulse.domain.analysis.closing import Fed
from alphapulse.domain.analysis.models import FittedModel
from alphapulse.domain.decision.decisions import (
    CalibrationFitted,
    DecisionMade,
    ParametersAdapted,
    calibration_stream,
    stream_of,
)
from alphapulse.domain.decision.strategy import StrategyDefined
from alphapulse.domain.market.events import (
    BarsObserved,
    FeedConnected,
    FeedLost,
    GapClosed,
    TradesObserved,
    WatermarkPassed,
)
from alphapulse.domain.ports import partition_of
from alphapulse.domain.signals.engine import ContextSource, Engine, EngineState, ExitSuggested, Output
from alphapulse.domain.signals.returns import Returns
from alphapulse.domain.signals.signal import OutcomeRecorded


@dataclass(frozen=True, slots=True)
class Due:
    """``event`` is to be version ``version`` of ``stream``; it follows from the log up to ``position``."""

    stream: str
    version: int
    event: DecisionMade | ParametersAdapted | OutcomeRecorded | CalibrationFitted
    position: int


@dataclass(frozen=True, slots=True)
class Advice:
    """``decision`` (recorded, or due before this) was made against a candidate that is open."""

    decision: DecisionMade
    position: int


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
    versions: dict[str, int] = field(default_factory=dict)  # of each stream, as derived
    open: set[str] = field(default_factory=set)  # decisions recorded and not yet resolved
    pending: CalibrationFitted | None = None  # the last one before the definition

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
        content = msgspec.msgpack.decode(kept) if kept else None
        returns = Returns(min(strategy.timeframes))
        engine = Engine(
            strategy,
            models=models,
            versions=model_versions,
            part=part,
            contexts=(*contexts, returns),
            state=EngineState.unpacked(content["engine"]) if content else None,
        )
        desk = cls(strategy, since, part, engine, returns)
        if content:
            desk.position, desk.versions = content["position"], content["versions"]
            desk.open = set(content["open"])
            pending = content["pending"]
            desk.pending = msgspec.convert(pending, CalibrationFitted) if pending else None
        return desk

    def packed(self) -> bytes:
        """All that the desk carries on, as of ``position``."""
        self.returns.settled = self.position
        content = {
            "engine": self.engine.state().packed(),
            "position": self.position,
            "versions": self.versions,
            "open": sorted(self.open),
            "pending": msgspec.to_builtins(self.pending) if self.pending else None,
        }
        return msgspec.msgpack.encode(content)

    @property
    def is_over(self) -> bool:
        """Retired, and nothing is left to be watched."""
        return self.retired is not None and self.position >= self.retired and not self.open

    def wants(self, stream: str, event: object) -> bool:
        """Whether the event, of ``stream``, is this part's business."""
        if not isinstance(event, Fed):
            return True
        instrument = market_of(event)
        if instrument == self.strategy.reference:
            return True
        return self.engine.decides_on(instrument) and (
            self.strategy.parts == 1 or partition_of(stream, self.strategy.parts) == self.part
        )

    def take(self, events: Sequence[tuple[int, str, Any]], upto: int) -> list[Due | Advice]:
        """What follows from ``events`` (position, stream, event), the next ones of the log up to ``upto``.

        After an exception the desk is of no use any more.
        """
        mine = [(at, market_of(event), event) for at, stream, event in events if self.wants(stream, event)]
        due: list[Due | Advice] = []
        made: dict[str, DecisionMade] = {}
        for output in self.engine.advance(mine):
            due += self._due(output, made)
        if upto >= self.since and self.pending is not None:
            due.append(self._next(self.pending, upto))
            self.pending = None
        self.position = upto
        self.returns.settled = upto
        return due

    def _due(self, output: Output, made: dict[str, DecisionMade]) -> list[Due | Advice]:
        event, due = output.event, list[Due | Advice]()
        if output.position <= self.since:
            if isinstance(event, CalibrationFitted):
                self.pending = event
            return []
        if self.pending is not None:
            due.append(self._next(self.pending, output.position))
            self.pending = None
        is_retired = self.retired is not None and output.position > self.retired
        match event:
            case OutcomeRecorded(decision=decision):
                if decision in self.open:
                    self.open.discard(decision)
                    due.append(self._next(event, output.position))
            case DecisionMade():
                made[event.decision] = event
                if not is_retired:
                    self.open.add(event.decision)
                    due.append(self._next(event, output.position))
            case ExitSuggested(against=against):
                if not is_retired and against in made:
                    due.append(Advice(made[against], output.position))
            case _ if not is_retired:
                due.append(self._next(event, output.position))
        return due

    def _next(
        self, event: DecisionMade | ParametersAdapted | OutcomeRecorded | CalibrationFitted, position: int
    ) -> Due:
        name, version = self.strategy.name, self.strategy.version
        stream = (
            calibration_stream(name, version, self.part)
            if isinstance(event, CalibrationFitted)
            else stream_of(event.instrument, name, version)
        )
        self.versions[stream] = self.versions.get(stream, 0) + 1
        return Due(stream, self.versions[stream], event, position)


def market_of(event: Any) -> str:
    """venue:symbol of an event of a market; empty for one of something else."""
    match event:
        case TradesObserved() | BarsObserved():
            return str(event.instrument)
        case FeedConnected() | FeedLost() | GapClosed() | WatermarkPassed():
            return f"{event.venue}:{event.symbol}"
        case _:
            return ""
