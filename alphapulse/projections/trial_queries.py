"""Which configurations of a strategy were tried, from the log, and what the best one is worth after that."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from alphapulse.domain.backtest.trials import TrialRecorded, stream_of
from alphapulse.domain.performance.deflation import (
    SharpeRecord,
    TrialCount,
    deflated_sharpe,
    expected_max_sharpe,
)
from alphapulse.domain.ports import Decode, EventStore
from alphapulse.projections.candle_view import QueryTooLarge

MAX_TRIALS = 20_000
_PAGE = 500


@dataclass(frozen=True, slots=True, kw_only=True)
class Trials:
    """Different trials, ``newest`` first with their positions. Sharpe ratios are per day, not annualised."""

    position: int
    newest: Sequence[tuple[int, TrialRecorded]]

    @property
    def count(self) -> int:
        return len(self.newest)

    @property
    def best(self) -> TrialRecorded | None:
        """The one with the highest Sharpe ratio, the first of them where several have it."""
        known = [event for _, event in self.newest[::-1] if event.sharpe is not None]
        return max(known, key=lambda event: event.sharpe or 0.0) if known else None

    @property
    def best_sharpe(self) -> float | None:
        return self.best.sharpe if self.best else None

    @property
    def sharpes(self) -> Sequence[float]:
        return [event.sharpe for _, event in self.newest if event.sharpe is not None]

    def counted(self) -> TrialCount | None:
        """How many there were and how they vary, for a deflated ratio; None: nothing was tried."""
        return count_of(self.count, self.sharpes) if self.newest else None

    @property
    def expected_best(self) -> float | None:
        """The best Sharpe ratio of so many trials without any skill."""
        counted = self.counted()
        return None if counted is None else expected_max_sharpe(counted)

    @property
    def deflated(self) -> float | None:
        """The probability that the best one is more than ``expected_best``."""
        best, counted = self.best, self.counted()
        if best is None or counted is None or best.sharpe is None:
            return None
        moments = [best.figures.get(name) for name in ("skew", "kurtosis")]
        skew, kurtosis = (
            plain if found is None else found for plain, found in zip((0.0, 3.0), moments, strict=True)
        )
        record = SharpeRecord(sharpe=best.sharpe, days=best.days, skew=skew, kurtosis=kurtosis)
        return deflated_sharpe(record, counted)


def count_of(trials: int, sharpes: Sequence[float]) -> TrialCount:
    """``trials`` of which these Sharpe ratios are known."""
    variance = float(np.var(sharpes, ddof=1)) if len(sharpes) > 1 else 0.0
    return TrialCount(trials=trials, sharpe_variance=variance)


async def trials_of(store: EventStore, decode: Decode, strategy: str, *, as_of: int | None = None) -> Trials:
    """What was tried of ``strategy`` by position ``as_of`` or now; the same tried again counts once.

    Raises:
        QueryTooLarge: there are over MAX_TRIALS.
    """
    position = await store.head() if as_of is None else as_of
    found: dict[str, tuple[int, TrialRecorded]] = {}
    version = 0
    while records := await store.read_stream(stream_of(strategy), after=version, limit=_PAGE):
        version = records[-1].version
        known = [record for record in records if record.position <= position]
        for record in known:
            event = decode(record).event
            found.setdefault(event.trial, (record.position, event))
        if len(found) > MAX_TRIALS:
            raise QueryTooLarge(f"over {MAX_TRIALS:,} configurations of {strategy} were tried")
        if len(known) < len(records):
            break
    return Trials(position=position, newest=list(found.values())[::-1])
