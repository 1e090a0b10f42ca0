"""What an engine carries from event to event, as arrays and a few numbers; exact as bytes and back.

A snapshot taken at a position, and the log after it, give the same outputs as the log from its beginning.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any, NamedTuple, TypeVar

import msgspec
import numpy as np
from msgspec.structs import astuple

from alphapulse.domain.analysis.closing import Closing
from alphapulse.domain.analysis.feature_rows import Carried, Slots
from alphapulse.domain.analysis.fields import Floats, Int64s
from alphapulse.domain.analysis.pieces import Piece
from alphapulse.domain.analysis.watching import Watched
from alphapulse.domain.decision.consensus import OF_CELL
from alphapulse.domain.decision.table import MAX_KNOTS
from alphapulse.domain.signals.engine_arrays import (
    DUE_AT,
    MAX_OPEN_IDEAS,
    OF_IDEA,
    OF_IDEA_I,
    REGIMES,
    USED,
    Market,
    Part,
)
from alphapulse.domain.signals.ticks import Sight
from alphapulse.domain.signals.watch import CLOSED as JUST_CLOSED
from alphapulse.domain.signals.watch import COUNT
from alphapulse.domain.signals.watcher import Watch

VERSION = 1  # of the bytes
FIRST_IDEAS = 16  # room for open ideas at first; it doubles up to MAX_OPEN_IDEAS

# Columns of History.numbers and of History.values
MARKET, DECIDED, CLOSED, FROM, UNTIL = range(5)
SCORE, BASE, WON = range(3)

SetKey = tuple[str, int]  # seat with a model of its own, or ""; timeframe of the rows
_T = TypeVar("_T", bound=NamedTuple)


class BadState(ValueError):
    """Bytes that are no state, or one of another strategy: the message says which."""


@dataclass(slots=True)
class MarketState:
    """One instrument. ``ordinal``: of the last output in its stream."""

    arrays: Market
    closing: Closing = field(default_factory=Closing)
    sight: Sight = field(default_factory=Sight)
    slots: dict[SetKey, Slots] = field(default_factory=dict)
    ordinal: int = 0


@dataclass(slots=True)
class History:
    """The last resolved candidates, in a ring: ``numbers`` (window, 5) and ``values`` (window, 3).

    SCORE is the raw log-odds, BASE those of the geometry without any edge. MARKET is the instrument's place
    among the markets of the state, times are ns, FROM and UNTIL positions of the events that made the
    decision and that closed it. ``total`` is how many there ever were.
    """

    numbers: Int64s
    values: Floats
    total: int = 0

    def take(self, numbers: Int64s, values: Floats) -> None:
        """Append rows, oldest first."""
        size = len(self.values)
        at = (self.total + np.arange(len(values))) % size
        self.numbers[at[-size:]], self.values[at[-size:]] = numbers[-size:], values[-size:]
        self.total += len(values)

    def packed(self) -> Any:
        """What was never written is left out."""
        filled = min(self.total, len(self.values))
        return len(self.values), self.total, _array(self.numbers[:filled]), _array(self.values[:filled])

    @classmethod
    def unpacked(cls, content: Any) -> "History":
        window, total, numbers, values = content
        history = new_history(window)
        filled = min(total, window)
        history.numbers[:filled], history.values[:filled] = _unarray(numbers), _unarray(values)
        history.total = total
        return history

    def rows(self) -> tuple[Int64s, Floats]:
        """What is there, oldest first."""
        size = len(self.values)
        if self.total <= size:
            return self.numbers[: self.total], self.values[: self.total]
        order = (self.total + np.arange(size)) % size
        return self.numbers[order], self.values[order]


@dataclass(slots=True)
class EngineState:
    """All of one part under one strategy version. ``owner`` names both, ``sets`` the features of each set."""

    owner: str
    part: Part
    history: History
    markets: dict[str, MarketState] = field(default_factory=dict)
    sets: dict[str, str] = field(default_factory=dict)
    contexts: list[bytes] = field(default_factory=list)
    fitted_at: int = 0  # resolved candidates at the last fit

    def packed(self) -> bytes:
        """The same state gives the same bytes."""
        content = {
            "version": VERSION,
            "owner": self.owner,
            "part": _arrays(self.part),
            "history": self.history.packed(),
            "markets": {name: _market(market) for name, market in self.markets.items()},
            "sets": self.sets,
            "contexts": self.contexts,
            "fitted_at": self.fitted_at,
        }
        return msgspec.msgpack.encode(content)

    @classmethod
    def unpacked(cls, data: bytes) -> "EngineState":
        """Raises BadState."""
        try:
            content: dict[str, Any] = msgspec.msgpack.decode(data)
            if content["version"] != VERSION:
                raise BadState(f"a state of version {content['version']}, this code reads {VERSION}")
            return cls(
                owner=content["owner"],
                part=Part(*(_unarray(a) for a in content["part"])),
                history=History.unpacked(content["history"]),
                markets={name: _unmarket(market) for name, market in content["markets"].items()},
                sets=content["sets"],
                contexts=content["contexts"],
                fitted_at=content["fitted_at"],
            )
        except (msgspec.DecodeError, KeyError, TypeError, ValueError) as error:
            if isinstance(error, BadState):
                raise
            raise BadState(f"{len(data)} bytes are no state of an engine: {error!r}") from error

    def check_owner(self, owner: str) -> None:
        """Raises BadState when the state is of another strategy, version or part."""
        if owner != self.owner:
            raise BadState(f"a state of {self.owner}, not of {owner}")

    def copy(self) -> "EngineState":
        return EngineState.unpacked(self.packed())


def new_part(timeframes: int, voters: int, prior: float, least: int) -> Part:
    """Before anything was resolved; a first fit is due after ``least``."""
    counters = np.zeros(4, dtype=np.int64)
    counters[DUE_AT] = least
    return Part(
        table_x=np.zeros(MAX_KNOTS),
        table_p=np.zeros(MAX_KNOTS),
        priors=np.full((timeframes, REGIMES, voters), prior),
        counters=counters,
    )


def new_history(window: int) -> History:
    return History(np.zeros((window, 5), dtype=np.int64), np.zeros((window, 3)))


def new_market(timeframes: int, voters: int, breaker_window: int) -> MarketState:
    watch = Watch.empty(FIRST_IDEAS)
    return MarketState(
        Market(
            cells=np.zeros((timeframes, REGIMES, voters, OF_CELL)),
            pairs=np.zeros((timeframes, voters, voters)),
            breaker=np.zeros((timeframes, breaker_window, 2)),
            counts=np.zeros((timeframes, 2), dtype=np.int64),
            adapted=np.zeros((timeframes, 3), dtype=np.int64),
            ideas_f=watch.ideas_f,
            ideas_i=watch.ideas_i,
            around_f=watch.around_f,
            around_i=watch.around_i,
            mine_f=np.zeros((FIRST_IDEAS, OF_IDEA + voters)),
            mine_i=np.zeros((FIRST_IDEAS, OF_IDEA_I), dtype=np.int64),
            numbers=np.zeros(2, dtype=np.int64),
        )
    )


def grown(market: Market) -> Market:
    """The same with room for twice as many open ideas."""
    room = min(2 * len(market.ideas_f), MAX_OPEN_IDEAS)
    ours = ("ideas_f", "ideas_i", "mine_f", "mine_i")
    return market._replace(**{name: _longer(getattr(market, name), room) for name in ours})


def _longer(array: Any, rows: int) -> Any:
    wider = np.zeros((rows, *array.shape[1:]), dtype=array.dtype)
    wider[: len(array)] = array
    return wider


def _array(array: Any) -> tuple[str, list[int], bytes]:
    kind = "<i8" if array.dtype.kind == "i" else "<f8"
    return kind, list(array.shape), array.astype(kind).tobytes()


def _unarray(packed: Any) -> Any:
    kind, shape, data = packed
    native = np.int64 if kind == "<i8" else np.float64
    return np.frombuffer(data, dtype=kind).astype(native).reshape(shape)


def _arrays(group: NamedTuple) -> list[tuple[str, list[int], bytes]]:
    return [_array(array) for array in group]


def _tidy(market: Market) -> Market:
    """The same without what was left behind by ideas that are closed."""
    count, around_i = int(market.around_i[COUNT]), market.around_i.copy()
    around_i[JUST_CLOSED] = 0
    rows = np.arange(len(market.ideas_f))[:, None] < count
    used = market.mine_i[:, [USED]] > 0
    return market._replace(
        around_i=around_i,
        ideas_f=np.where(rows, market.ideas_f, 0.0),
        ideas_i=np.where(rows, market.ideas_i, 0),
        mine_f=np.where(used, market.mine_f, 0.0),
        mine_i=np.where(used, market.mine_i, 0),
    )


def _market(market: MarketState) -> dict[str, Any]:
    return {
        "arrays": _arrays(_tidy(market.arrays)),
        "closing": _written(market.closing),
        "sight": msgspec.msgpack.encode(market.sight),
        "slots": [
            (key, [(t, _carried(carried)) for t, carried in slots.items()])
            for key, slots in market.slots.items()
        ],
        "ordinal": market.ordinal,
    }


def _unmarket(content: Mapping[str, Any]) -> MarketState:
    return MarketState(
        arrays=Market(*(_unarray(a) for a in content["arrays"])),
        closing=_read(content["closing"]),
        sight=msgspec.msgpack.decode(content["sight"], type=Sight),
        slots={
            (key[0], key[1]): {t: _uncarried(carried) for t, carried in slots}
            for key, slots in content["slots"]
        },
        ordinal=content["ordinal"],
    )


def _frozen(value: Any) -> Any:
    """Lists as tuples, as they were before JSON."""
    return tuple(_frozen(part) for part in value) if isinstance(value, list) else value


def _carried(carried: Carried) -> Any:
    arrays = [_array(a) for a in (carried.inside, carried.bars, carried.outputs)]
    return carried.snapshot, carried.seen, *arrays


def _uncarried(content: Any) -> Carried:
    snapshot, seen, inside, bars, outputs = content
    return Carried(snapshot, seen, _unarray(inside), _unarray(bars), _unarray(outputs))


def _written(state: Closing) -> str:
    """As JSON: sums of sizes may be larger than 64 bits."""
    watched = [getattr(state.watched, f.name) for f in fields(Watched)]
    pieces = [piece and astuple(piece) for piece in state.open]
    return json.dumps([state.high_water, state.late, state.last, pieces, watched])


def _read(text: str) -> Closing:
    high_water, late, last, pieces, (first, connected, known, filled) = json.loads(text)
    return Closing(
        high_water=high_water,
        late=late,
        last=tuple(last),
        open=tuple(piece and Piece(*piece) for piece in pieces),
        watched=Watched(first, connected, _frozen(known), _frozen(filled)),
    )
