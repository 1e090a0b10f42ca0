"""The life of signals: issued with a number, perhaps advised to leave, closed by the market.

Stream ``signals-{strategy}``: SignalIssued, ExitRecommended, SignalClosed of all versions and markets of a
strategy. Numbers are 1, 2, 3 … without gaps, whoever decides: the number is taken by appending here, in the
same transaction as the decision, and a writer that was overtaken decides again. Stream
``decisions-{venue}-{symbol}-{strategy}.{version}`` holds OutcomeRecorded, also of candidates that were
refused. Times are ns by the venue's clock, prices in quote currency, sizes shares of equity.
"""

import msgspec

from alphapulse.domain.signals.outcome import Outcome


class SignalIssued(msgspec.Struct, frozen=True, kw_only=True):
    strategy: str
    strategy_version: int
    number: int
    decision: str
    instrument: str
    timeframe: int
    side: int
    time: int
    entry: float
    stop: float
    targets: tuple[float, ...]
    confidence: float
    horizon_end: int
    size_ratio: float
    calibration: int
    models: tuple[str, ...]  # name.version of each fitted model that voted
    position: int  # of the event that ended the bar
    label: str


class ExitRecommended(msgspec.Struct, frozen=True, kw_only=True):
    """The voters now speak for the other side, clearly enough; only the market closes the signal."""

    strategy: str
    number: int
    decision: str  # that was made against it
    time: int
    price: float
    consensus: float
    reasons: tuple[str, ...]


class SignalClosed(msgspec.Struct, frozen=True, kw_only=True):
    strategy: str
    number: int
    decision: str
    time: int
    reason: str
    price: float
    net_bps: float
    r_multiple: float
    equity: float  # of the strategy after it, 1 at its beginning


class OutcomeRecorded(msgspec.Struct, frozen=True, kw_only=True):
    """What became of a candidate; ``number`` of the signal, 0 where it was refused."""

    strategy: str
    strategy_version: int
    decision: str
    instrument: str
    timeframe: int
    side: int
    number: int
    confidence: float
    outcome: Outcome


def stream_of(strategy: str) -> str:
    return f"signals-{strategy}"
