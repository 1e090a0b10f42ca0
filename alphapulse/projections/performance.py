"""Read model: every candidate in one row of numbers, as it was decided and as it ended.

Source: DecisionMade, OutcomeRecorded. Rebuild with ``alphapulse projections rebuild performance``. The
tables are in performance_tables.py, the questions in performance_queries.py.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, LiteralString

from psycopg import AsyncConnection
from sqlalchemy import Table

from alphapulse.domain.decision.decisions import DecisionMade
from alphapulse.domain.ports import Recorded
from alphapulse.domain.signals.signal import OutcomeRecorded
from alphapulse.projections import binary_rows as wire
from alphapulse.projections.performance_tables import candidates
from alphapulse.projections.read_model import Folded

Row = tuple[Any, ...]
Changes = Mapping[str, Sequence[Row]]  # by the half of the row that it is

# How a column is sent, and how it is stored.
_KINDS: Mapping[str, tuple[Callable[[Any], bytes], LiteralString]] = {
    "text": (wire.text_array, ""),
    "int": (wire.int8_array, "::int"),
    "bigint": (wire.int8_array, ""),
    "double": (wire.float8_array, ""),
}
_BOTH: Mapping[LiteralString, str] = {
    "decision": "text",
    "strategy": "text",
    "strategy_version": "int",
    "instrument": "text",
    "timeframe": "int",
    "side": "int",
}
_DECIDED: Mapping[LiteralString, str] = {
    "position": "bigint",
    "opened": "bigint",
    "entry": "double",
    "confidence": "double",
    "size_ratio": "double",
    "regime": "text",
    "label": "text",
}
_ENDED: Mapping[LiteralString, str] = {
    "outcome_position": "bigint",
    "number": "int",
    "closed": "bigint",
    "is_win": "int",
    "worst_win": "int",
    "best_win": "int",
    "gross_bps": "double",
    "net_bps": "double",
    "net_r": "double",
    "worst_price": "double",
    "best_price": "double",
    "reason": "text",
}
_SENT: Mapping[str, LiteralString] = {
    "text": "text[]",
    "int": "bigint[]",
    "bigint": "bigint[]",
    "double": "float8[]",
}


class Performance:
    """See the module."""

    name = "performance"
    code_version = 1
    names = frozenset({"decision.made.v1", "outcome.recorded.v1"})
    tables: Sequence[Table] = (candidates,)
    partitioned = True  # a row is made of the events of one stream
    commutes = True

    async def load(self, db: AsyncConnection[Any]) -> None:
        """Nothing has to be known of earlier events."""

    def fold(self, state: None, events: Sequence[Recorded]) -> Folded[None, Changes]:
        decided, ended = dict[str, Row](), dict[str, Row]()  # the first of a decision counts
        for recorded in events:
            match recorded.event:
                case DecisionMade() as e:
                    decided.setdefault(e.decision, _decided(e, recorded.position))
                case OutcomeRecorded() as e:
                    ended.setdefault(e.decision, _ended(e, recorded.position))
                case other:
                    raise TypeError(f"{other!r} is nothing that performance is made of")
        return Folded(state, {"decided": [*decided.values()], "ended": [*ended.values()]}, {})

    async def write(self, db: AsyncConnection[Any], changes: Changes) -> None:
        for half, rows in changes.items():
            if rows:
                columns = zip(_columns(half).values(), zip(*rows, strict=True), strict=True)
                await db.execute(_STATEMENTS[half], [_KINDS[kind][0](values) for kind, values in columns])


def _decided(e: DecisionMade, position: int) -> Row:
    confidence = e.claim.confidence if e.claim.calibration > 0 else float("nan")
    return (*_common(e), position, e.time, e.entry, confidence, e.size_ratio, e.regime, e.label)


def _ended(e: OutcomeRecorded, position: int) -> Row:
    o = e.outcome
    wins = o.label, o.worst_label, o.best_label
    prices = o.worst_price, o.best_price
    money = o.gross_bps, o.net_bps, o.net_r_multiple
    return (*_common(e), position, e.number, o.closed_at, *wins, *money, *prices, o.reason)


def _common(e: DecisionMade | OutcomeRecorded) -> Row:
    return e.decision, e.strategy, e.strategy_version, e.instrument, e.timeframe, e.side


def _columns(half: str) -> Mapping[LiteralString, str]:
    return {**_BOTH, **(_DECIDED if half == "decided" else _ENDED)}


def upsert(
    table: LiteralString, columns: Mapping[LiteralString, str], conflict: LiteralString
) -> LiteralString:
    """A statement that adds rows, which come as one array a column."""
    names: LiteralString = ", ".join(columns)
    sent: LiteralString = ", ".join("%s::" + _SENT[kind] for kind in columns.values())
    stored: LiteralString = ", ".join(name + _KINDS[kind][1] for name, kind in columns.items())
    return (
        f"INSERT INTO {table} ({names}) SELECT {stored} FROM unnest({sent}) AS rows ({names})"
        f" ON CONFLICT (decision) DO {conflict}"
    )


def _complete(half: Iterable[LiteralString], known: LiteralString) -> LiteralString:
    """Fill in one half of a row that the other half has made. What was there stays."""
    changed: LiteralString = ", ".join(f"{name} = EXCLUDED.{name}" for name in half)
    return f"UPDATE SET {changed} WHERE candidates.{known} IS NULL"


_STATEMENTS: Mapping[str, LiteralString] = {
    "decided": upsert("candidates", _columns("decided"), _complete(_DECIDED, "position")),
    "ended": upsert("candidates", _columns("ended"), _complete(_ENDED, "outcome_position")),
}
