"""What a read model holds, as one hash, and where two of them part.

A digest is a function of the rows alone: tables in order of their names, rows in order of their
primary key by code point, columns as declared, values in PostgreSQL's text form (UTC, exact floats,
numerics without trailing zeros). Physical order, batch sizes, workers and hosts leave no trace.
"""

import hashlib
from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

from psycopg import AsyncConnection, IsolationLevel
from sqlalchemy import Column, DateTime, Integer, Numeric, Table, Text, Uuid

from alphapulse.projections.read_model import AnyReadModel

MAX_DIFFERENCES = 20  # rows that a comparison shows in full; the others it counts
MAX_VALUE = 200  # characters of a value it shows

PLAIN_TEXT = """
SET LOCAL timezone TO 'UTC'; SET LOCAL datestyle TO 'ISO'; SET LOCAL intervalstyle TO 'postgres';
SET LOCAL extra_float_digits TO 1; SET LOCAL bytea_output TO 'hex';
SET LOCAL statement_timeout TO 0; SET LOCAL idle_in_transaction_session_timeout TO 0;
"""

Row = tuple[str | None, ...]


@dataclass(frozen=True, slots=True)
class Digest:
    """``whole`` covers all tables; the others tell which one differs."""

    whole: str
    tables: Mapping[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class RowDifference:
    """A row whose ``fields`` differ: name to (live, rebuilt). A row that one side lacks has none there."""

    table: str
    key: Mapping[str, str | None]
    missing: str | None  # live or rebuilt: which side has no such row
    fields: Mapping[str, tuple[str | None, str | None]]
    position: int | None  # of the last event that touched the row on either side


@dataclass(frozen=True, slots=True)
class Differences:
    """The first ones in table and key order, and how many there are in all."""

    rows: Sequence[RowDifference]
    total: int


async def digest(db: AsyncConnection[Any], model: AnyReadModel) -> Digest:
    """Hash the generation that the search_path of ``db`` leads to. Memory does not grow with its rows."""
    tables: dict[str, str] = {}
    async with _plain_text(db):
        for table in _ordered(model):
            tables[table.name] = await _table_digest(db, table)
    whole = hashlib.sha256("".join(f"{n} {h}\n" for n, h in tables.items()).encode())
    return Digest(whole.hexdigest(), tables)


async def live_digest(db: AsyncConnection[Any], model: AnyReadModel) -> tuple[int, Digest]:
    """Position and digest of the live generation, from one snapshot; ``db`` stays at that isolation."""
    await db.set_isolation_level(IsolationLevel.REPEATABLE_READ)
    async with db.transaction():
        cursor = await db.execute(
            "SELECT position FROM projections WHERE name = %s AND state = 'live'", (model.name,)
        )
        row = await cursor.fetchone()
        return (int(row[0]) if row else 0), await digest(db, model)


async def differences(
    live: AsyncConnection[Any], rebuilt: AsyncConnection[Any], model: AnyReadModel
) -> Differences:
    """The rows in which two generations differ. Both are read once, in key order, side by side."""
    shown: list[RowDifference] = []
    total = 0
    async with _plain_text(live), _plain_text(rebuilt):
        for table in _ordered(model):
            async with aclosing(_table_differences(live, rebuilt, table)) as found:
                async for difference in found:
                    total += 1
                    if len(shown) < MAX_DIFFERENCES:
                        shown.append(difference)
    return Differences(shown, total)


def _ordered(model: AnyReadModel) -> Sequence[Table]:
    return sorted(model.tables, key=lambda table: table.name)


@asynccontextmanager
async def _plain_text(db: AsyncConnection[Any]) -> AsyncIterator[None]:
    """A transaction in which values have one text form, whatever the server's settings are."""
    async with db.transaction():
        await db.execute(PLAIN_TEXT)
        yield


async def _table_digest(db: AsyncConnection[Any], table: Table) -> str:
    columns = ", ".join(_canonical(c) for c in table.columns)
    query = f"COPY (SELECT {columns} FROM {_quoted(table.name)} AS r ORDER BY {_key_order(table)}) TO STDOUT"
    result = hashlib.sha256(" ".join(c.name for c in table.columns).encode() + b"\n")
    async with db.cursor() as cursor, cursor.copy(query) as rows:
        async for chunk in rows:
            result.update(chunk)
    return result.hexdigest()


async def _table_differences(
    live: AsyncConnection[Any], rebuilt: AsyncConnection[Any], table: Table
) -> AsyncGenerator[RowDifference, None]:
    async with aclosing(_keyed_rows(live, table)) as left, aclosing(_keyed_rows(rebuilt, table)) as right:
        a, b = await anext(left, None), await anext(right, None)
        while a is not None or b is not None:
            if b is None or (a is not None and a[0] < b[0]):
                assert a is not None
                yield _difference(table, a[1], None)
                a = await anext(left, None)
            elif a is None or b[0] < a[0]:
                yield _difference(table, None, b[1])
                b = await anext(right, None)
            else:
                if a[1] != b[1]:
                    yield _difference(table, a[1], b[1])
                a, b = await anext(left, None), await anext(right, None)


def _difference(table: Table, live: Row | None, rebuilt: Row | None) -> RowDifference:
    names = [c.name for c in table.columns]
    empty: Row = (None,) * len(names)
    pairs = dict(zip(names, zip(live or empty, rebuilt or empty, strict=True), strict=True))
    keys = [c.name for c in table.primary_key.columns]
    positions = [int(p) for p in pairs.get("position", ()) if p is not None]
    return RowDifference(
        table=table.name,
        key={k: pairs[k][0] if live else pairs[k][1] for k in keys},
        missing="live" if live is None else "rebuilt" if rebuilt is None else None,
        fields={n: (_cut(x), _cut(y)) for n, (x, y) in pairs.items() if n not in keys and x != y},
        position=max(positions, default=None),
    )


def _cut(value: str | None) -> str | None:
    return value if value is None or len(value) <= MAX_VALUE else value[:MAX_VALUE] + "…"


async def _keyed_rows(
    db: AsyncConnection[Any], table: Table
) -> AsyncGenerator[tuple[tuple[Any, ...], Row], None]:
    """Rows as text with their key as values that Python orders as PostgreSQL does."""
    keys = list(table.primary_key.columns)
    selected = [_sortable(c) for c in keys] + [f"({_canonical(c)})::text" for c in table.columns]
    query = f"SELECT {', '.join(selected)} FROM {_quoted(table.name)} AS r ORDER BY {_key_order(table)}"
    async with db.cursor(f"rows_{uuid4().hex}") as cursor:
        cursor.itersize = 5_000
        await cursor.execute(query)
        async for row in cursor:
            key = tuple(v.encode() if isinstance(v, str) else v for v in row[: len(keys)])
            yield key, tuple(row[len(keys) :])


def _canonical(column: Column[Any]) -> str:
    """1.5 and 1.50 are one number, so they are one text."""
    name = _quoted(column.name)
    return f"trim_scale({name})" if _is_numeric(column) else name


def _key_order(table: Table) -> str:
    assert table.primary_key.columns, f"{table.name} needs a primary key: its rows have no order else"
    return ", ".join(
        f"r.{_quoted(c.name)}" + (' COLLATE "C"' if isinstance(c.type, Text) else "")
        for c in table.primary_key.columns
    )


def _sortable(column: Column[Any]) -> str:
    name = _quoted(column.name)
    if isinstance(column.type, DateTime):
        return f"(extract(epoch FROM {name}) * 1000000)::bigint"
    if isinstance(column.type, Text | Uuid):
        return f"{name}::text"
    assert isinstance(column.type, Integer) or _is_numeric(column), f"no order for keys of type {column.type}"
    return name


def _is_numeric(column: Column[Any]) -> bool:
    return isinstance(column.type, Numeric) and column.type.__visit_name__ in ("numeric", "NUMERIC")


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'
