"""The last closes of every market that is decided on, for how alike two of them move.

Shaped as a context of an engine, which hands it bars as they end; it gives no columns to voters.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec
import numpy as np

from alphapulse.domain.analysis.closing import Closed
from alphapulse.domain.analysis.fields import CLOSE, Floats, Int64s

RETURNS = 100  # bars that a correlation between two markets looks at
LEAST_RETURNS = 30
_KEPT_BARS = 2 * RETURNS


class Every(frozenset[str]):
    """All markets: an engine hands a context the bars of those that it names."""

    def __contains__(self, _item: object) -> bool:
        return True


@dataclass
class Returns:
    """Of each market the bars of ``timeframe``: ends (minutes), positions and closes, oldest first.

    The newest may be ahead of what is decided: who asks says as of which position.
    """

    timeframe: int
    names: Sequence[str] = ()
    markets: frozenset[str] = field(default_factory=Every)
    bars: dict[str, tuple[Int64s, Int64s, Floats]] = field(default_factory=dict)
    settled: int = 0  # nobody will ask as of an earlier position
    _standard: dict[str, tuple[int, Int64s, Floats]] = field(default_factory=dict)

    def fold(self, position: int, instrument: str, event: Any) -> None:  # noqa: ARG002  the protocol's
        return

    def columns(
        self,
        instrument: str,  # noqa: ARG002
        timeframe: int,  # noqa: ARG002
        closed: Closed,  # noqa: ARG002
    ) -> Mapping[str, Floats]:
        return {}

    def closed(self, instrument: str, closed: Mapping[int, Closed]) -> None:
        if self.timeframe not in closed:
            return
        bars = closed[self.timeframe].bars
        new = (bars.start + bars.timeframe, bars.position, bars.values[CLOSE])
        old = self.bars.get(instrument)
        kept = new if old is None else tuple(np.concatenate(pair) for pair in zip(old, new, strict=True))
        self.bars[instrument] = self._trimmed(*kept)
        self._standard.pop(instrument, None)

    def _trimmed(self, ends: Int64s, positions: Int64s, closes: Floats) -> tuple[Int64s, Int64s, Floats]:
        """What is settled is needed for the last ``_KEPT_BARS`` only."""
        first = max(int(np.searchsorted(positions, self.settled, side="right")) - _KEPT_BARS, 0)
        return ends[first:], positions[first:], closes[first:]

    def correlation(self, one: str, other: str, position: int) -> float:
        """Pearson's, of log returns between bars that both have ended by ``position``; NaN: too few."""
        if one not in self.bars or other not in self.bars:
            return float("nan")
        (ends, x), (other_ends, y) = (self._last(name, position) for name in (one, other))
        if not np.array_equal(ends, other_ends):
            x, y = self._common(one, other, position)
        return float(x @ y) if len(x) >= LEAST_RETURNS and x.any() and y.any() else float("nan")

    def alike(self, one: str, position: int) -> Mapping[str, float]:
        """Correlations with ``one`` by market, computed when asked for; unknown ones are not there."""
        return _Alike(self, one, position)

    def _last(self, name: str, position: int) -> tuple[Int64s, Floats]:
        """Ends of the last bars and their standardised returns: many pairs of a moment ask for them."""
        count = int(np.searchsorted(self.bars[name][1], position, side="right"))
        known = self._standard.get(name)
        if known is None or known[0] != count:
            ends, _, closes = self.bars[name]
            rows = slice(max(count - RETURNS - 1, 0), count)
            known = self._standard[name] = (count, ends[rows], _standardised(closes[rows]))
        return known[1], known[2]

    def _common(self, one: str, other: str, position: int) -> tuple[Floats, Floats]:
        (ends, a), (other_ends, b) = (self._known(name, position) for name in (one, other))
        _, mine, theirs = np.intersect1d(ends, other_ends, assume_unique=True, return_indices=True)
        last = slice(max(len(mine) - RETURNS - 1, 0), None)
        return _standardised(a[mine[last]]), _standardised(b[theirs[last]])

    def _known(self, name: str, position: int) -> tuple[Int64s, Floats]:
        ends, positions, closes = self.bars[name]
        count = int(np.searchsorted(positions, position, side="right"))
        return ends[:count], closes[:count]

    def packed(self) -> bytes:
        rows = {name: [array.tobytes() for array in self._trimmed(*bars)] for name, bars in self.bars.items()}
        return msgspec.msgpack.encode([self.settled, rows])

    def restore(self, data: bytes) -> None:
        self._standard.clear()
        self.settled, rows = msgspec.msgpack.decode(data) if data else (0, {})
        self.bars = {
            name: (
                np.frombuffer(ends, dtype=np.int64),
                np.frombuffer(positions, dtype=np.int64),
                np.frombuffer(closes),
            )
            for name, (ends, positions, closes) in rows.items()
        }


def _standardised(closes: Floats) -> Floats:
    """Log returns less their mean, of length 1: the product of two is their correlation. Zeros: no change."""
    if len(closes) < 2:
        return np.zeros(0)
    moves = np.diff(np.log(closes))
    moves = moves - moves.mean()
    length = float(np.sqrt(moves @ moves))
    return np.asarray(moves / length if length > 0 else moves * 0.0)


@dataclass(frozen=True, slots=True)
class _Alike(Mapping[str, float]):
    returns: Returns
    one: str
    position: int

    def __getitem__(self, other: str) -> float:
        rho = self.returns.correlation(self.one, other, self.position)
        if rho != rho or other == self.one:
            raise KeyError(other)
        return rho

    def __iter__(self) -> Iterator[str]:
        return (other for other in self.returns.bars if other in self)

    def __len__(self) -> int:
        return sum(1 for _ in self)
