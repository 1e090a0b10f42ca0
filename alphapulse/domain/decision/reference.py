"""Context of the pair voter: how a market moves with the strategy's reference market, and what it did beyond.

Per market and timeframe: beta is the exponential average of r x by that of x**2, r the market's and x the
reference's log return of the same bar, without means (a bar's mean return is nothing beside its size). The
residual is r - beta x in deviations of the residuals before it. A bar's own returns are learnt from only
after it was judged, so no value knows its own outcome.

A bar of the reference shows in a row only if it is in the log by the row's position, and was known by its
known time. Live, the reference may close a moment after the market: then the row has no residual, and the
pair of returns is learnt from with the next row.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec
import numpy as np

from alphapulse.domain.analysis.closing import Closed
from alphapulse.domain.analysis.compiled import inner_piece, piece
from alphapulse.domain.analysis.fields import CLOSE, Floats, Int64s
from alphapulse.domain.analysis.logarithm import log

MEMORY = 250  # bars: the averages are plain means of so many, then exponential with alpha 2 / (MEMORY + 1)
LEAST = 100  # pairs of returns before anything is said
CAPACITY = 10_000  # bars of the reference that a row may look back at, in each timeframe
MAX_MARKETS = 2_000  # of which anything is kept; further ones are told nothing

# Of a market: its last close, its last return and that bar's end, pairs seen, and three averages.
_LAST, _RETURN, _END, _PAIRS, _PRODUCT, _SQUARE, _ERROR = range(7)
_STATE = 7


@dataclass(frozen=True, slots=True, eq=False)
class _Bars:
    """The reference's bars: end (minutes), position, known time, log return (NaN after a hole)."""

    end: Int64s
    position: Int64s
    known: Int64s
    move: Floats

    @classmethod
    def none(cls) -> "_Bars":
        nothing = np.zeros(0, dtype=np.int64)
        return cls(nothing, nothing, nothing, np.zeros(0))

    def last(self, count: int) -> "_Bars":
        return _Bars(self.end[-count:], self.position[-count:], self.known[-count:], self.move[-count:])

    def then(self, other: "_Bars") -> "_Bars":
        """These, and ``other`` after them."""
        return _Bars(
            np.concatenate([self.end, other.end]),
            np.concatenate([self.position, other.position]),
            np.concatenate([self.known, other.known]),
            np.concatenate([self.move, other.move]),
        )

    def packed(self) -> list[bytes]:
        return [np.ascontiguousarray(c).tobytes() for c in (self.end, self.position, self.known, self.move)]

    @classmethod
    def unpacked(cls, data: Sequence[bytes]) -> "_Bars":
        end, position, known = (np.frombuffer(column, dtype=np.int64).copy() for column in data[:3])
        return cls(end, position, known, _floats(data[3]))

    def seen(self, ends: Int64s, positions: Int64s, known: Int64s) -> Floats:
        """The return of the bar that ends at each of ``ends``, as of ``positions`` and ``known``, or NaN."""
        if not len(self.end):
            return np.full(len(ends), np.nan)
        at = np.minimum(np.searchsorted(self.end, ends), len(self.end) - 1)
        by_then = np.searchsorted(self.position, positions, side="right")
        there = (self.end[at] == ends) & (self.position[at] <= positions) & (self.known[at] <= known)
        return np.where(there & (at >= by_then - CAPACITY), self.move[at], np.nan)


class ReferenceSource:
    """A context source of the engine: see engine_contexts.py for what it is asked when.

    ``columns`` learns as it goes: it is to be asked for every bar of a market once, in order.
    """

    names: Sequence[str] = ("reference_beta", "reference_residual")

    def __init__(self, reference: str, timeframes: Sequence[int]) -> None:
        """``reference``: venue:symbol; ``timeframes`` (minutes): of the rows that will be asked for."""
        self.reference, self.timeframes = reference, tuple(sorted(timeframes))
        self.markets = frozenset((reference,))
        self.restore(b"")

    def fold(self, position: int, instrument: str, event: Any) -> None:
        """Nothing but bars matters."""

    def closed(self, instrument: str, closed: Mapping[int, Closed]) -> None:
        if instrument != self.reference:
            return
        for timeframe in self.timeframes:
            if timeframe in closed:
                self._add(timeframe, closed[timeframe])

    def _add(self, timeframe: int, closed: Closed) -> None:
        bars = closed.bars
        ends, move = bars.start + timeframe, np.empty(len(bars))
        _returns(bars.values[CLOSE], ends, timeframe, self._last[timeframe], move)
        # Rows to come are of later events than what is here: they see no more than CAPACITY of it.
        kept = self._bars[timeframe].last(CAPACITY)
        self._bars[timeframe] = kept.then(_Bars(ends, bars.position, bars.known_time, move))

    def columns(self, instrument: str, timeframe: int, closed: Closed) -> Mapping[str, Floats]:
        bars = closed.bars
        beta, residual = np.full(len(bars), np.nan), np.full(len(bars), np.nan)
        state = self._state_of(instrument, timeframe)
        if state is not None and len(bars):
            reference, ends = self._bars[timeframe], bars.start + timeframe
            before = np.concatenate([[np.int64(state[_END])], ends[:-1]])
            now = reference.seen(ends, bars.position, bars.known_time)
            then = reference.seen(before, bars.position, bars.known_time)
            _follow(bars.values[CLOSE], ends, timeframe, now, then, state, beta, residual)
        return {"reference_beta": beta, "reference_residual": residual}

    def _state_of(self, instrument: str, timeframe: int) -> Floats | None:
        """None for the reference itself, a timeframe that was not asked for, and one market too many."""
        key = f"{instrument} {timeframe}"
        if instrument == self.reference or timeframe not in self.timeframes:
            return None
        if key not in self._states and len(self._states) < MAX_MARKETS * len(self.timeframes):
            self._states[key] = np.zeros(_STATE)
        return self._states.get(key)

    def packed(self) -> bytes:
        bars = {timeframe: held.last(CAPACITY).packed() for timeframe, held in self._bars.items()}
        last = {timeframe: values.tobytes() for timeframe, values in self._last.items()}
        states = {key: state.tobytes() for key, state in self._states.items()}
        return msgspec.msgpack.encode((self.reference, bars, last, states))

    def restore(self, data: bytes) -> None:
        """
        Raises:
            ValueError: ``data`` is of another reference or of other timeframes.
        """
        self._bars = {timeframe: _Bars.none() for timeframe in self.timeframes}
        self._last = {timeframe: np.zeros(2) for timeframe in self.timeframes}  # close, end
        self._states: dict[str, Floats] = {}
        if not data:
            return
        reference, bars, last, states = msgspec.msgpack.decode(data, type=_Packed)
        if (reference, tuple(sorted(bars))) != (self.reference, self.timeframes):
            raise ValueError(
                f"of {reference} in {sorted(bars)} minutes, not of {self.reference} in {self.timeframes}"
            )
        for timeframe, columns in bars.items():
            self._bars[timeframe] = _Bars.unpacked(columns)
            self._last[timeframe] = _floats(last[timeframe])
        self._states = {key: _floats(state) for key, state in states.items()}


_Packed = tuple[str, dict[int, list[bytes]], dict[int, bytes], dict[str, bytes]]


def _floats(data: bytes) -> Floats:
    return np.frombuffer(data, dtype=np.float64).copy()


@piece
def _returns(closes: Floats, ends: Int64s, timeframe: int, last: Floats, move: Floats) -> None:
    """Log returns of bars that follow each other without a hole, else NaN. ``last``: close and end before."""
    for i in range(len(closes)):
        move[i] = _return(closes[i], ends[i], timeframe, last[0], last[1])
        last[0], last[1] = closes[i], ends[i]


@inner_piece
def _return(close: float, end: int, timeframe: int, before: float, ended: float) -> float:
    if end - ended != timeframe or not (before > 0.0 and close > 0.0):
        return np.nan
    return float(log(close / before))


@piece
def _follow(
    closes: Floats,
    ends: Int64s,
    timeframe: int,
    now: Floats,
    then: Floats,
    state: Floats,
    beta: Floats,
    residual: Floats,
) -> None:
    """Row by row: learn from the bar before, then judge this one; ``then`` and ``now``: the reference's."""
    for i in range(len(closes)):
        _learn(state, state[_RETURN], then[i])
        move = _return(closes[i], ends[i], timeframe, state[_LAST], state[_END])
        state[_LAST], state[_END], state[_RETURN] = closes[i], ends[i], move
        if state[_PAIRS] >= LEAST and state[_SQUARE] > 0.0:
            beta[i] = state[_PRODUCT] / state[_SQUARE]
            if state[_ERROR] > 0.0:
                residual[i] = (move - beta[i] * now[i]) / np.sqrt(state[_ERROR])


@inner_piece
def _learn(state: Floats, move: float, reference: float) -> None:
    """Take a pair of returns, known by now, into the averages; nothing where one is missing."""
    if not (move == move and reference == reference):
        return
    state[_PAIRS] += 1.0
    weight = max(1.0 / state[_PAIRS], 2.0 / (MEMORY + 1.0))
    beta = state[_PRODUCT] / state[_SQUARE] if state[_SQUARE] > 0.0 else 0.0
    error = move - beta * reference
    state[_PRODUCT] += weight * (move * reference - state[_PRODUCT])
    state[_SQUARE] += weight * (reference * reference - state[_SQUARE])
    state[_ERROR] += weight * (error * error - state[_ERROR])
