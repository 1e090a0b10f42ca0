"""Arrays in PostgreSQL's binary format: what goes in is what the server sees."""

from typing import Any

import numpy as np
import psycopg
import pytest

from alphapulse.projections.binary_rows import bytea_array, float8_array, int8_array, text_array
from tests.projections.conftest import World

LARGEST = (1 << 63) - 1
NAN = float("nan")


@pytest.mark.parametrize(
    ("packed", "kind", "values"),
    [
        (int8_array([1, -LARGEST - 1, LARGEST]), "bigint[]", [1, -LARGEST - 1, LARGEST]),
        (int8_array(np.arange(6, dtype=np.int64)[::2]), "bigint[]", [0, 2, 4]),
        (int8_array([]), "bigint[]", []),
        (float8_array([0.1, -0.0, 5e-324, 1.7976931348623157e308]), "float8[]", ["0.1", "-0", "5e-324"]),
        (float8_array(np.array([[1.0, NAN], [np.inf, -np.inf]]).T), "float8[]", ["1", "Infinity", "NaN"]),
        (float8_array([]), "float8[]", []),
        (text_array(["", "NULL", '"{}\\', "bench:Ä€"]), "text[]", ["", "NULL", '"{}\\', "bench:Ä€"]),
        (text_array([]), "text[]", []),
        (bytea_array([b"", b"\x00\xff", b"a" * 9]), "bytea[]", [b"", b"\x00\xff", b"a" * 9]),
        (bytea_array([]), "bytea[]", []),
    ],
)
async def test_an_array_arrives_as_it_was_packed(world: World, packed: Any, kind: str, values: Any) -> None:
    async with await world.connect() as db:
        form = "text[]" if kind == "float8[]" else kind
        cursor = await db.execute(f"SELECT (%s::{kind})::{form}, pg_typeof(%s)::text", (packed, packed))
        row = await cursor.fetchone()
    assert row is not None
    assert row[0][: len(values)] == values
    assert bool(row[0]) == bool(values)
    assert row[1] == {"float8[]": "double precision[]"}.get(kind, kind)


async def test_an_array_that_is_not_text_is_refused_by_the_server(world: World) -> None:
    """A zero byte has no place in a text of PostgreSQL: an error, and no row with half of it."""
    async with await world.connect() as db:
        with pytest.raises(psycopg.DataError):
            await db.execute("SELECT %s::text[]", (text_array(["a\x00b"]),))
