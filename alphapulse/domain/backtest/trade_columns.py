"""Trades as they come, in columns that grow: some 150 bytes each, until all are asked for at once."""

from array import array
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from alphapulse.domain.analysis.fields import Int64s
from alphapulse.domain.decision.decisions import decision_id
from alphapulse.domain.performance.trades import Trades

_WHOLE = ("bar_start", "timeframe", "side", "number", "opened", "closed", "position", "labels")
_FLOATS = ("confidence", "size_ratio", "gross_bps", "net_bps", "net_r", "worst_bps", "best_bps")
_NAMES = ("instrument", "regime", "reason")


class Row(NamedTuple):
    """One trade; fields as in trades.Trade. ``labels``: what it is, at worst and at best, a bit each."""

    instrument: str
    regime: str
    reason: str
    bar_start: int
    timeframe: int
    side: int
    number: int
    opened: int
    closed: int
    position: int
    labels: int
    confidence: float
    size_ratio: float
    gross_bps: float
    net_bps: float
    net_r: float
    worst_bps: float
    best_bps: float


def labels_of(is_win: bool, worst: bool, best: bool) -> int:
    return is_win | worst << 1 | best << 2


@dataclass
class TradeColumns:
    """Of one strategy version."""

    strategy: str
    version: int
    _columns: dict[str, "array[Any]"] = field(
        default_factory=lambda: {
            **{name: array("i") for name in _NAMES},
            **{name: array("q") for name in _WHOLE},
            **{name: array("d") for name in _FLOATS},
        }
    )
    _codes: dict[str, dict[str, int]] = field(default_factory=lambda: {name: {} for name in _NAMES})

    def __len__(self) -> int:
        return len(self._columns["opened"])

    def add(self, row: Row) -> None:
        columns = self._columns
        for name, value in row._asdict().items():
            if isinstance(value, str):
                codes = self._codes[name]
                value = codes.setdefault(value, len(codes))
            columns[name].append(value)

    def trades(self) -> Trades:
        """All of them, as they closed."""
        made = {name: np.array(column) for name, column in self._columns.items()}
        names = {name: np.array([*codes, ""], dtype=object) for name, codes in self._codes.items()}
        named = {name: names[name][made[name]] for name in _NAMES}
        decision = self._decisions(named["instrument"], made["timeframe"], made["bar_start"])
        order = self._order(made["closed"], made["opened"], decision)
        labels = made["labels"][order]
        return Trades(
            decision=decision[order],
            strategy_version=np.full(len(self), self.version, dtype=np.int64),
            is_win=(labels & 1).astype(np.bool_),
            worst_win=(labels & 2).astype(np.bool_),
            best_win=(labels & 4).astype(np.bool_),
            **{name: named[name][order] for name in _NAMES},
            **{name: made[name][order] for name in _FLOATS},
            **{name: made[name][order] for name in _WHOLE if name not in ("bar_start", "labels")},
        )

    def _decisions(
        self, instruments: NDArray[np.object_], timeframes: Int64s, starts: Int64s
    ) -> NDArray[np.object_]:
        found = np.empty(len(starts), dtype=object)
        rows = zip(instruments.tolist(), timeframes.tolist(), starts.tolist(), strict=True)
        found[:] = [decision_id(self.strategy, self.version, *row) for row in rows]
        return found

    @staticmethod
    def _order(closed: Int64s, opened: Int64s, decision: NDArray[np.object_]) -> Int64s:
        """By closing, then opening, then id."""
        keys = zip(closed.tolist(), opened.tolist(), decision.tolist(), strict=True)
        ordered = sorted(enumerate(keys), key=lambda item: item[1])
        return np.array([place for place, _ in ordered], dtype=np.int64)
