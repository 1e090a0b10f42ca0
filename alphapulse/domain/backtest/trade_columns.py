"""Trades as they come, in columns: some 130 bytes each until all are asked for at once."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from alphapulse.domain.analysis.fields import Int64s
from alphapulse.domain.decision.decisions import decision_id
from alphapulse.domain.performance.trades import Bools, Names, Trades
from alphapulse.domain.signals.engine_clerk import REGIME_NAMES
from alphapulse.domain.signals.outcome import REASONS

Columns = Mapping[str, NDArray[Any]]

WHOLE = ("timeframe", "bar_start", "side", "number", "opened", "closed", "position", "regime", "reason")
FLOATS = ("confidence", "size_ratio", "gross_bps", "net_bps", "net_r", "worst_bps", "best_bps")
MASKS = ("is_win", "worst_win", "best_win")
_PLAIN = ("timeframe", "side", "number", "opened", "closed", "position")
_CODED: Mapping[str, Names] = {
    "regime": np.array(REGIME_NAMES, dtype=object),
    "reason": np.array(REASONS, dtype=object),
}
_SMALL = {"timeframe": np.int16, "side": np.int8, "regime": np.int8, "reason": np.int8, "number": np.int32}


@dataclass
class TradeColumns:
    """Of one strategy version. Regimes and reasons are codes, instruments as they are named."""

    strategy: str
    version: int
    _parts: list[Columns] = field(default_factory=list)

    def add(self, columns: Columns, which: Bools) -> None:
        """The rows ``which`` of columns (n,): WHOLE, FLOATS, MASKS and instrument."""
        kept = {name: _kept(name, columns[name][which]) for name in ("instrument", *WHOLE, *FLOATS, *MASKS)}
        self._parts.append(kept)

    def trades(self) -> Trades:
        """All of them, as they closed."""
        made = {name: np.concatenate([part[name] for part in self._parts]) for name in self._names()}
        if not made or not len(made["opened"]):
            return Trades.of([])
        decision = self._decisions(made["instrument"], made["timeframe"], made["bar_start"])
        order = _order(made["closed"], made["opened"], decision)
        columns: dict[str, Any] = {name: made[name][order] for name in ("instrument", *FLOATS, *MASKS)}
        columns |= {name: made[name][order].astype(np.int64) for name in _PLAIN}
        columns |= {name: words[made[name][order]] for name, words in _CODED.items()}
        versions = np.full(len(order), self.version, dtype=np.int64)
        return Trades(decision=decision[order], strategy_version=versions, **columns)

    def _names(self) -> tuple[str, ...]:
        return ("instrument", *WHOLE, *FLOATS, *MASKS) if self._parts else ()

    def _decisions(self, instruments: Names, timeframes: Int64s, starts: Int64s) -> Names:
        found = np.empty(len(starts), dtype=object)
        rows = zip(instruments.tolist(), timeframes.tolist(), starts.tolist(), strict=True)
        found[:] = [decision_id(self.strategy, self.version, *row) for row in rows]
        return found


def _kept(name: str, values: NDArray[Any]) -> NDArray[Any]:
    return values.astype(_SMALL[name]) if name in _SMALL else values


def _order(closed: Int64s, opened: Int64s, decision: Names) -> Int64s:
    """By closing, then opening, then id."""
    return np.lexsort((decision.astype(str), opened, closed))
