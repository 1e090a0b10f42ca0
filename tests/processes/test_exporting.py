"""Exports: the same file again from its manifest, from the log and from the read model."""

from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from alphapulse.adapters.files import parquet_features
from alphapulse.adapters.files.parquet_features import read_features
from alphapulse.domain.analysis.row_bytes import RowsDigest
from alphapulse.processes import exporting, instrument_log
from alphapulse.processes.compute_workers import ComputeFailed, compute_from
from alphapulse.processes.computing import AheadOfLog, Wanted
from alphapulse.processes.exporting import (
    BadManifest,
    NotReproduced,
    TooManyRows,
    compare,
    export,
    export_rows,
    manifest_path,
    read_manifest,
    reproduce,
)
from alphapulse.projections.candle_view import NotYetFolded
from tests.processes.feature_logs import DEFINED, random_events
from tests.processes.feature_world import World


def names_in(folder: Path) -> list[str]:
    return [path.name for path in folder.iterdir()]


async def test_log_and_read_model_give_the_same_file_bit_for_bit(world: World, tmp_path: Path) -> None:
    wanted = await world.wanted()
    from_log = await export(world.url, wanted, tmp_path / "log.parquet")
    await world.fold()
    async with await world.connect() as db:
        from_rows = await export_rows(world.store, wanted, db, tmp_path / "rows.parquet")
    assert from_log.rows > 300
    assert from_rows == from_log
    assert (tmp_path / "log.parquet").read_bytes() == (tmp_path / "rows.parquet").read_bytes()
    computed = await compute_from(world.url, wanted)
    assert computed.digest == from_log.values_digest


@pytest.mark.parametrize(
    ("workers", "page_bytes"), [(1, 1), (2, 3_000), pytest.param(4, 500, marks=pytest.mark.long)]
)
async def test_a_manifest_gives_the_same_file_again_after_more_events_with_other_workers_and_batches(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, workers: int, page_bytes: int
) -> None:
    made = await export(world.url, await world.wanted(timeframes=[1, 60]), tmp_path / "a.parquet")
    assert read_manifest(manifest_path(tmp_path / "a.parquet")) == made
    await world.writer.append(random_events(12, batches=10, names=("a:X_USD", "c:NEW", "b:X_USD")))
    monkeypatch.setattr(instrument_log, "PAGE_BYTES", page_bytes)
    again = await reproduce(world.url, made, tmp_path / "b.parquet", workers=workers)
    assert compare(made, again) == []
    assert (tmp_path / "b.parquet").read_bytes() == (tmp_path / "a.parquet").read_bytes()
    assert sorted(names_in(tmp_path)) == [
        "a.manifest.json", "a.parquet", "b.manifest.json", "b.parquet",
    ]  # fmt: skip


async def test_an_export_holds_what_its_manifest_says(world: World, tmp_path: Path) -> None:
    path = tmp_path / "x.parquet"
    made = await export(world.url, await world.wanted(instruments=["a:X_USD"]), path)
    digest = RowsDigest()
    for rows in read_features(path):
        digest.add(rows)
    assert digest.parts() == made.parts
    table = pq.read_table(path)
    assert table.num_rows == made.rows == sum(part.rows for part in made.series)
    assert [(f.name, str(f.type)) for f in table.schema] == list(made.columns)
    assert set(table.column("instrument").unique().to_pylist()) == {"a:X_USD"}
    keys = list(zip(*(table.column(c).to_pylist() for c in ("timeframe", "start")), strict=True))
    assert keys == sorted(keys)


async def test_bounds_by_known_time_leave_out_what_was_known_later(world: World, tmp_path: Path) -> None:
    everything = await export(world.url, await world.wanted(), tmp_path / "all.parquet")
    known = pq.read_table(tmp_path / "all.parquet").column("known_time").cast(pa.int64()).to_numpy()
    cutoff = int(np.median(known))
    some = await export(world.url, await world.wanted(known_by=cutoff), tmp_path / "some.parquet")
    assert some.rows == int((known <= cutoff).sum()) < everything.rows
    assert some.bounds.known_by == cutoff


async def test_another_log_does_not_pass_for_the_one_of_the_manifest(world: World, tmp_path: Path) -> None:
    made = await export(world.url, await world.wanted(), tmp_path / "a.parquet")
    other = msgspec.structs.replace(made, log=msgspec.structs.replace(made.log, last_event="another"))
    with pytest.raises(NotReproduced, match="another in that of the manifest"):
        await reproduce(world.url, other, tmp_path / "b.parquet")
    other = msgspec.structs.replace(made, set_digest="feed")
    with pytest.raises(NotReproduced, match=r"s@1 has digest .*, the manifest feed"):
        await reproduce(world.url, other, tmp_path / "b.parquet")
    assert not (tmp_path / "b.parquet").exists()


async def test_what_differs_is_said(world: World, tmp_path: Path) -> None:
    made = await export(world.url, await world.wanted(), tmp_path / "a.parquet")
    old = msgspec.structs.replace(made, sha256="feed", writer={**made.writer, "version": "1.0"})
    (said,) = compare(old, made)
    assert said.endswith(f"written by pyarrow 1.0, now by {pa.__version__}")
    series = (msgspec.structs.replace(made.series[0], sha256="feed"), *made.series[1:])
    other = msgspec.structs.replace(made, series=series, values_digest="feed")
    assert compare(other, made) == [
        f"the rows of 1 series differ: {made.series[0].instrument} {made.series[0].timeframe}m"
    ]


async def test_an_export_that_fails_leaves_what_was_there(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a.parquet").write_bytes(b"old")
    with pytest.raises(TooManyRows, match="over 10"):
        await export(world.url, await world.wanted(), tmp_path / "a.parquet", max_rows=10)

    def full(*_: Any) -> None:
        raise OSError("no space left on device")

    monkeypatch.setattr(parquet_features.FeatureFile, "add", full)
    with pytest.raises(OSError, match="no space left"):
        await export(world.url, await world.wanted(), tmp_path / "a.parquet")
    assert names_in(tmp_path) == ["a.parquet"]
    assert (tmp_path / "a.parquet").read_bytes() == b"old"


async def test_a_worker_that_fails_ends_the_export(world: World, tmp_path: Path) -> None:
    wanted = await world.wanted()
    broken = msgspec.structs.replace(DEFINED.features[0], rule="no_such_rule")
    odd = Wanted(
        defined=msgspec.structs.replace(DEFINED, features=(broken,)), until=wanted.until, instruments=None
    )
    with pytest.raises(ComputeFailed, match="no indicator is called 'no_such_rule'"):
        await compute_from(world.url, odd, workers=2)
    with pytest.raises(ValueError, match="65 workers"):
        await compute_from(world.url, wanted, workers=65)


async def test_the_end_of_the_log_bounds_an_export(world: World, tmp_path: Path) -> None:
    head = await world.store.head()
    with pytest.raises(AheadOfLog, match=f"position {head + 1} was asked for, the log ends at {head}"):
        await world.wanted(until=head + 1)
    wanted = await world.wanted(until=14)
    early = await export(world.url, wanted, tmp_path / "a.parquet")
    assert max(pq.read_table(tmp_path / "a.parquet").column("position").to_pylist()) <= 14
    assert early.log.until == 14
    async with await world.connect() as db:
        with pytest.raises(NotYetFolded):
            await export_rows(world.store, wanted, db, tmp_path / "b.parquet")
    assert [name for name in names_in(tmp_path) if name[0] == "."] == []


def test_a_file_that_is_no_manifest_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "m.json"
    path.write_text("{}")
    with pytest.raises(BadManifest, match=r"m\.json"):
        read_manifest(path)
    assert exporting.FORMAT == "alphapulse.features.v1"
