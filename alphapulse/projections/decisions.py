"""Read model: every decision with its reasons, its outcome, and how claims were calibrated.

Source: DecisionMade, OutcomeRecorded, ParametersAdapted, CalibrationFitted. Rebuild with
``alphapulse projections rebuild decisions``. Rows never change: ``as_of`` is a bound on positions, and exact.
"""

from collections.abc import Mapping, Sequence
from typing import Any, LiteralString

import msgspec
from psycopg import AsyncConnection, sql
from sqlalchemy import Table

from alphapulse.domain.decision.decisions import CalibrationFitted, DecisionMade, ParametersAdapted
from alphapulse.domain.ports import Recorded
from alphapulse.domain.signals.signal import OutcomeRecorded
from alphapulse.projections.decision_tables import adaptations, calibrations, decisions, outcomes
from alphapulse.projections.read_model import Folded

Row = Mapping[str, object]
Changes = Sequence[tuple[str, Row]]  # table and row, in the order of the log


class Decisions:
    """See the module."""

    name = "decisions"
    code_version = 1
    names = frozenset(
        {
            "decision.made.v1",
            "outcome.recorded.v1",
            "decision.parameters_adapted.v1",
            "calibration.fitted.v1",
        }
    )
    tables: Sequence[Table] = (decisions, outcomes, adaptations, calibrations)
    partitioned = True
    commutes = True

    async def load(self, db: AsyncConnection[Any]) -> None:
        """Nothing has to be known of earlier events."""

    def fold(self, state: None, events: Sequence[Recorded]) -> Folded[None, Changes]:
        return Folded(state, [_row(recorded) for recorded in events], {})

    async def write(self, db: AsyncConnection[Any], changes: Changes) -> None:
        await insert_rows(db, changes)


async def insert_rows(
    db: AsyncConnection[Any], changes: Changes, conflict: LiteralString = "DO NOTHING"
) -> None:
    """Add rows, one statement for each run of rows of one table."""
    by_table: dict[str, list[Row]] = {}
    for table, row in changes:
        by_table.setdefault(table, []).append(row)
    async with db.cursor() as cursor:
        for table, rows in by_table.items():
            await cursor.executemany(insertion(table, tuple(rows[0]), conflict), rows)


def insertion(table: str, columns: Sequence[str], conflict: LiteralString) -> sql.Composed:
    return sql.SQL("INSERT INTO {} ({}) VALUES ({}) ON CONFLICT {}").format(
        sql.Identifier(table),
        sql.SQL(", ").join(map(sql.Identifier, columns)),
        sql.SQL(", ").join(map(sql.Placeholder, columns)),
        sql.SQL(conflict),
    )


def _row(recorded: Recorded) -> tuple[str, Row]:
    common = {"position": recorded.position, "detail": json_of(recorded.event)}
    match recorded.event:
        case DecisionMade() as e:
            claimed = e.claim.calibration > 0
            return "decisions", {
                **_named(e, decisions, common),
                "confidence": e.claim.confidence if claimed else None,
                "margin": e.gate.margin if claimed else None,
                "refusals": list(e.refusals),
            }
        case OutcomeRecorded() as e:
            return "outcomes", {
                **_named(e, outcomes, common),
                "confidence": e.confidence if e.confidence > 0 else None,
                "reason": e.outcome.reason,
                "is_win": int(e.outcome.is_win),
                "closed_at": e.outcome.closed_at,
                "net_bps": e.outcome.net_bps,
                "r_multiple": e.outcome.r_multiple,
            }
        case ParametersAdapted() as e:
            return "adaptations", {
                **_named(e, adaptations, common),
                "before_name": e.before,
                "after_name": e.after,
            }
        case CalibrationFitted() as e:
            return "calibrations", _named(e, calibrations, common)
        case other:
            raise TypeError(f"{other!r} is nothing that decisions are made of")


def _named(event: object, table: Table, common: Row) -> dict[str, object]:
    """The columns of ``table`` that ``event`` has under the same names, and ``common``."""
    names = [c.name for c in table.c if hasattr(event, c.name) and c.name not in common]
    return {**{name: getattr(event, name) for name in names}, **common}


def json_of(event: object) -> str:
    return msgspec.json.encode(event).decode()
