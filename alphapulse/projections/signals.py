"""Read model: signals with their state, and the strategies that issue them.

Source: SignalIssued, ExitRecommended, SignalClosed, StrategyDefined, StrategyRetired. Rebuild with
``alphapulse projections rebuild signals``. What happens to a signal later is written once, with its position.
"""

from collections.abc import Sequence
from typing import Any, LiteralString

from psycopg import AsyncConnection
from sqlalchemy import Table

from alphapulse.domain.decision.strategy import StrategyDefined, StrategyRetired
from alphapulse.domain.ports import Recorded
from alphapulse.domain.signals.signal import ExitRecommended, SignalClosed, SignalIssued
from alphapulse.projections.decision_tables import signals, strategies
from alphapulse.projections.decisions import Row, insertion, json_of
from alphapulse.projections.read_model import Folded

Changes = Sequence[tuple[str, Row]]  # a statement's name and its values, in the order of the log

_EXIT: LiteralString = (
    "UPDATE signals SET exit_position = %(position)s, exit_time = %(time)s, exit_price = %(price)s"
    " WHERE strategy = %(strategy)s AND number = %(number)s AND exit_position IS NULL"
)
_CLOSE: LiteralString = (
    "UPDATE signals SET closed_position = %(position)s, closed_at = %(time)s, close_reason = %(reason)s,"
    " close_price = %(price)s, net_bps = %(net_bps)s, r_multiple = %(r_multiple)s, equity = %(equity)s"
    " WHERE strategy = %(strategy)s AND number = %(number)s AND closed_position IS NULL"
)
_RETIRE: LiteralString = (
    "UPDATE strategies SET retired_position = %(position)s"
    " WHERE name = %(name)s AND version = %(version)s AND retired_position IS NULL"
)
_UPDATES: dict[str, LiteralString] = {"exit": _EXIT, "close": _CLOSE, "retire": _RETIRE}

_OF_ISSUED = (
    "strategy",
    "number",
    "strategy_version",
    "decision",
    "instrument",
    "timeframe",
    "side",
    "time",
    "entry",
    "stop",
    "confidence",
    "horizon_end",
    "size_ratio",
    "label",
)


class Signals:
    """See the module."""

    name = "signals"
    code_version = 1
    names = frozenset(
        {
            "signal.issued.v1",
            "signal.exit_recommended.v1",
            "signal.closed.v1",
            "strategy.defined.v1",
            "strategy.retired.v1",
        }
    )
    tables: Sequence[Table] = (signals, strategies)
    partitioned = True  # a row is made of the events of one stream
    commutes = False

    async def load(self, db: AsyncConnection[Any]) -> None:
        """Nothing has to be known of earlier events."""

    def fold(self, state: None, events: Sequence[Recorded]) -> Folded[None, Changes]:
        return Folded(state, [_change(recorded) for recorded in events], {})

    async def write(self, db: AsyncConnection[Any], changes: Changes) -> None:
        async with db.cursor() as cursor:
            for kind, values in changes:
                update = _UPDATES.get(kind)
                if update is None:
                    await cursor.execute(insertion(kind, tuple(values), "DO NOTHING"), values)
                else:
                    await cursor.execute(update, values)


def _change(recorded: Recorded) -> tuple[str, Row]:
    position, event = recorded.position, recorded.event
    match event:
        case SignalIssued() as e:
            row = {name: getattr(e, name) for name in _OF_ISSUED}
            return "signals", {
                **row,
                "targets": list(e.targets),
                "position": position,
                "detail": json_of(e),
            }
        case ExitRecommended() as e:
            return "exit", {
                "strategy": e.strategy,
                "number": e.number,
                "position": position,
                "time": e.time,
                "price": e.price,
            }
        case SignalClosed() as e:
            names = ("strategy", "number", "time", "reason", "price", "net_bps", "r_multiple", "equity")
            return "close", {**{name: getattr(e, name) for name in names}, "position": position}
        case StrategyDefined() as e:
            return "strategies", {
                "name": e.name,
                "version": e.version,
                "label": e.label,
                "digest": e.digest,
                "position": position,
                "detail": json_of(e),
            }
        case StrategyRetired() as e:
            return "retire", {"name": e.name, "version": e.version, "position": position}
        case other:
            raise TypeError(f"{other!r} is nothing that signals are made of")
