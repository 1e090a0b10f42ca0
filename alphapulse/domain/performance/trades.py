"""What performance is measured on: candidates of which the market has decided what became.

A candidate with a number was a signal; one without was refused, and is kept to show what the gate costs and
saves. Times are ns by the venue's clock, prices in quote currency, ``_bps`` basis points of the entry.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
from numpy.typing import NDArray

from alphapulse.domain.analysis.fields import Floats, Int64s

Names = NDArray[np.object_]
Bools = NDArray[np.bool_]

_DTYPES: dict[Any, Any] = {int: np.int64, float: np.float64, bool: np.bool_, str: np.object_}


@dataclass(frozen=True, slots=True, kw_only=True)
class Trade:
    """One of them, as its decision and its outcome are recorded."""

    decision: str
    strategy_version: int
    instrument: str  # venue:symbol
    timeframe: int  # minutes
    regime: str
    side: int  # 1 long, -1 short
    number: int  # of the signal; 0: refused
    opened: int  # known time of the decision
    closed: int
    confidence: float  # claimed P(target before stop); NaN: nothing was claimed
    size_ratio: float  # notional as a share of the equity at its issue; 0: refused
    reason: str  # why it ended, one of outcome.REASONS
    is_win: bool  # the target came before the stop, within the horizon
    worst_win: bool  # bounds of ``is_win`` where the market leaves it in doubt
    best_win: bool
    gross_bps: float
    net_bps: float  # less fees and slippage
    net_r: float  # net, in units of what the stop risked
    worst_bps: float = float("nan")  # bounds of ``gross_bps`` where it is in doubt; NaN: none known
    best_bps: float = float("nan")
    position: int = 0  # of the outcome in the log


@dataclass(frozen=True, slots=True, eq=False)
class Trades:
    """Columns (n,) of Trade, in the order in which they closed (then of their opening, then of their id)."""

    decision: Names
    strategy_version: Int64s
    instrument: Names
    timeframe: Int64s
    regime: Names
    side: Int64s
    number: Int64s
    opened: Int64s
    closed: Int64s
    confidence: Floats
    size_ratio: Floats
    reason: Names
    is_win: Bools
    worst_win: Bools
    best_win: Bools
    gross_bps: Floats
    net_bps: Floats
    net_r: Floats
    worst_bps: Floats
    best_bps: Floats
    position: Int64s

    @classmethod
    def of(cls, rows: Iterable[Trade]) -> "Trades":
        ordered = sorted(rows, key=lambda row: (row.closed, row.opened, row.decision))
        return cls(*(_column(f.name, f.type, ordered) for f in fields(Trade)))

    def __len__(self) -> int:
        return len(self.opened)

    def take(self, which: Bools | NDArray[np.intp] | slice) -> "Trades":
        """Those ``which``, a mask or ascending places."""
        return Trades(*(getattr(self, f.name)[which] for f in fields(self)))

    def rows(self) -> Sequence[Trade]:
        names = [f.name for f in fields(self)]
        columns = [getattr(self, name).tolist() for name in names]
        return [Trade(**dict(zip(names, row, strict=True))) for row in zip(*columns, strict=True)]

    @property
    def signals(self) -> "Trades":
        return self.take(self.number > 0)

    @property
    def refused(self) -> "Trades":
        return self.take(self.number == 0)


def _column(name: str, kind: Any, rows: Sequence[Trade]) -> NDArray[Any]:
    dtype = _DTYPES[kind]
    return np.array([getattr(row, name) for row in rows], dtype=dtype)
