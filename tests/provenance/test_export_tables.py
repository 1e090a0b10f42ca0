"""The tables in a bundle: a row for each event, and nothing that a spreadsheet would compute."""

import io
import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import pyarrow.parquet as pq
import pytest

from alphapulse.adapters.provenance.decoded import decimal, decoded
from alphapulse.adapters.provenance.tables import COLUMNS, safe
from alphapulse.adapters.store.codec import codec
from alphapulse.domain.market.events import FeedLost
from alphapulse.domain.ports import Envelope, NewEvent
from alphapulse.domain.provenance.selection import Selection
from alphapulse.processes import audit_standing
from tests.provenance import reading
from tests.provenance.given import World, bundle_of, sealed_log

HOSTILE = [
    *('=cmd|" /C calc"!A0', "+1+1", "-2+3", "@SUM(A1)", "\t=1", "\r=1", '="a","b"', "=1\n=2"),
    *('"quoted"', "a,b;c", "line\nline", "line\r\nline", "'apostrophe", "ünïcode \u2028 \u200b"),
]


async def hostile_log() -> World:
    world = await sealed_log(events=20, seed=2)
    for n, text in enumerate(HOSTILE):
        event = FeedLost(venue=text, symbol="x", time=n, reason=text)
        new = codec.new_event(f"{text}-{n}", 1, event, actor=text)
        await world.store.append([new])
    await world.seal()
    return world


async def test_no_cell_begins_as_a_formula_and_all_say_what_the_event_says(tmp_path: Path) -> None:
    world, out = await hostile_log(), tmp_path / "x.tar.gz"
    await bundle_of(world, Selection(), out, tables=("csv",))
    rows, found = reading.table(out), reading.events(out)
    assert len(rows) == len(found)
    for row, event in zip(rows, found, strict=True):
        assert tuple(row) == COLUMNS
        assert not any(cell.startswith(("=", "+", "-", "@", "\t", "\r")) for cell in row.values())
        for column in ("stream", "actor", "name", "hash", "id"):
            assert row[column] == safe(event[column])
        assert json.loads(row["event"]) == event["event"]
    assert {row["actor"].removeprefix("'") for row in rows} >= {t.removeprefix("'") for t in HOSTILE}


async def test_the_verifier_agrees_with_the_tables_of_a_hostile_log(tmp_path: Path) -> None:
    world, out = await hostile_log(), tmp_path / "x.tar.gz"
    await bundle_of(world, Selection(), out, tables=("csv", "parquet"))
    found = reading.verified(out, world.key)
    assert (found.verdict, found.faults) == ("VALID", [])


async def test_times_and_absences_are_told_as_a_spreadsheet_reads_them(tmp_path: Path) -> None:
    world, out = await sealed_log(events=40, seed=2), tmp_path / "x.tar.gz"
    await bundle_of(world, Selection(), out, tables=("csv",))
    for row, event in zip(reading.table(out), reading.events(out), strict=True):
        at = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=event["recorded_at"])
        assert datetime.fromisoformat(row["recorded_at"]) == at
        assert row["event_time"] == (event["event_time"] or "")
        assert row["trace"] == ""


async def test_parquet_has_a_group_of_rows_for_each_part_and_types_that_fit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(audit_standing, "MAX_EVENTS_A_PART", 15)
    world, out = await sealed_log(events=50, seed=2), tmp_path / "x.tar.gz"
    await bundle_of(world, Selection(), out, tables=("parquet",))
    file = pq.ParquetFile(io.BytesIO(reading.members(out)["events.parquet"]))
    assert [file.metadata.row_group(i).num_rows for i in range(file.num_row_groups)][:3] == [15, 15, 15]
    rows: list[dict[str, Any]] = file.read().to_pylist()
    for row, event in zip(rows, reading.events(out), strict=True):
        assert [row[n] for n in ("leaf", "position", "version")] == [
            event[n] for n in ("leaf", "position", "version")
        ]
        assert row["event_time"] == (event["event_time"] and int(event["event_time"]))
        assert (row["recorded_at"] - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1) == (
            event["recorded_at"]
        )
        assert row["cause"] == event["cause"]
        assert json.loads(row["event"]) == event["event"]


async def test_an_event_that_nobody_can_read_has_its_bytes_and_no_text(tmp_path: Path) -> None:
    world, out = await sealed_log(events=10, seed=2), tmp_path / "x.tar.gz"
    for n, state in enumerate([b"\x00\xff", b"\xa9T\x01damaged", b"{", b"[1,]", b'"\xff"', b""]):
        new = NewEvent(
            stream=f"odd-{n}",
            version=1,
            name="odd.v1",
            state=state,
            envelope=Envelope(event_id=UUID(int=n)),
        )
        await world.store.append([new])
    await world.seal()
    await bundle_of(world, Selection(streams=tuple(f"odd-{n}" for n in range(6))), out, tables=("csv",))
    assert [event["event"] for event in reading.events(out)] == [None] * 6
    assert [event["state"] is not None for event in reading.events(out)] == [True] * 6
    assert [row["event"] for row in reading.table(out)] == [""] * 6


def test_json_of_several_lines_becomes_one() -> None:
    found = decoded(b'{\n "a": [1,\r\n 2],\n "b": "x\\ny"\n}')
    assert found == b'{"a":[1,2],"b":"x\\ny"}'


@pytest.mark.parametrize(
    ("value", "places", "text"),
    [
        (1250, 2, "12.50"),
        (5, 3, "0.005"),
        (-5, 3, "-0.005"),
        (-1250, 2, "-12.50"),
        (7, 0, "7"),
        (0, 2, "0.00"),
        (-(1 << 63), 18, "-9.223372036854775808"),
    ],
)
def test_decimals_are_exact_and_have_all_their_places(value: int, places: int, text: str) -> None:
    assert decimal(value, places) == text
