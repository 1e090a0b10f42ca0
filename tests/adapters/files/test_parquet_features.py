"""The same rows give the same file, however they were cut; a file that is not finished is not there."""

import hashlib

import numpy as np
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from alphapulse.adapters.files import parquet_features
from alphapulse.adapters.files.atomic import AtomicFile, sha256_of
from alphapulse.adapters.files.parquet_features import (
    BadColumn,
    FeatureFile,
    feature_names,
    read_features,
    schema,
    write_features,
)
from alphapulse.adapters.files.spill import Spill, unspilled
from alphapulse.domain.analysis.feature_rows import FeatureRows
from alphapulse.domain.analysis.row_bytes import WHOLE, RowsDigest, packed, series_of, taken, whole_digest

NAMES = ("sma(20)", "flag")


def made(instrument="a:X", timeframe=1, n=50, seed=0, first=0):
    rng = np.random.default_rng(seed)
    values = rng.normal(size=(n, 2))
    values[rng.random((n, 2)) < 0.1] = np.nan
    start = np.arange(first, first + n, dtype=np.int64) * timeframe
    return FeatureRows(
        instrument=instrument,
        timeframe=timeframe,
        start=start,
        known_time=(start + timeframe) * 60_000_000_000 + 7,
        position=np.arange(n, dtype=np.int64) + 3,
        first_position=np.ones(n, dtype=np.int64),
        input_position=np.arange(n, dtype=np.int64) + 2,
        flags=rng.integers(0, 32, n).astype(np.int64),
        values=values,
    )


def cut(rows, sizes):
    at = 0
    for size in sizes:
        yield taken(rows, slice(at, at + size))
        at += size
    yield taken(rows, slice(at, None))


def same(a, b):
    return series_of(a) == series_of(b) and packed(a) == packed(b)


SIZES = st.lists(st.integers(0, 30), max_size=8)


@pytest.fixture
def small_groups(monkeypatch):
    """Row groups of 16 rows, so that a few rows make several."""
    monkeypatch.setattr(parquet_features, "ROW_GROUP", 16)


@given(sizes=SIZES)
@settings(max_examples=25)
def test_however_rows_are_cut_the_file_is_the_same(tmp_path_factory, sizes):
    series = [made("a:X", 1), made("a:X", 60, seed=1), made("b:Y", 1, seed=2)]
    folder = tmp_path_factory.mktemp("files")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(parquet_features, "ROW_GROUP", 16)
        write_features(folder / "whole", NAMES, series)
        write_features(folder / "cut", NAMES, (piece for rows in series for piece in cut(rows, sizes)))
    assert sha256_of(folder / "whole") == sha256_of(folder / "cut")


def test_what_was_written_is_read_back(tmp_path, small_groups):
    series = [made("a:X", 1), made("b:Y", 1, seed=2)]
    assert write_features(tmp_path / "f", NAMES, series) == 100
    digest = RowsDigest()
    for rows in read_features(tmp_path / "f"):
        assert len(rows) <= 16
        digest.add(rows)
    expected = RowsDigest()
    for rows in series:
        expected.add(rows)
    assert digest.parts() == expected.parts()
    assert feature_names(tmp_path / "f") == NAMES
    assert {rows.instrument for rows in read_features(tmp_path / "f", instrument="b:Y")} == {"b:Y"}


def test_a_value_that_is_not_there_is_null_in_the_file(tmp_path):
    rows = made()
    write_features(tmp_path / "f", NAMES, [rows])
    table = pq.read_table(tmp_path / "f")
    assert table.column("sma(20)").null_count == int(np.isnan(rows.values[:, 0]).sum()) > 0
    assert table.column("start")[1].as_py().isoformat() == "1970-01-01T00:01:00+00:00"


def test_a_file_of_no_rows_has_its_columns(tmp_path):
    assert write_features(tmp_path / "f", NAMES, []) == 0
    assert pq.read_table(tmp_path / "f").column_names == ["instrument", "timeframe", *WHOLE, *NAMES]


def test_rows_out_of_the_files_order_are_refused(tmp_path):
    file = FeatureFile(tmp_path / "f", NAMES)
    file.add(made("b:Y"))
    with pytest.raises(ValueError, match=r"\('a:X', 1\) after those of \('b:Y', 1\)"):
        file.add(made("a:X"))
    file.close()


def test_two_columns_of_one_name_are_refused():
    with pytest.raises(BadColumn, match="flags, twice"):
        schema(["flags", "twice", "twice"])


@given(sizes=SIZES)
@settings(max_examples=25)
def test_a_spill_gives_back_what_it_took(tmp_path_factory, sizes):
    folder = tmp_path_factory.mktemp("spill")
    series = [made("a:X", 1), made("a:X", 5, seed=3)]
    spill = Spill(folder)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("alphapulse.adapters.files.spill._WAITING_ROWS", 8)
        for piece in (p for rows in reversed(series) for p in cut(rows, sizes)):
            spill.add(piece, packed(piece))
        spill.flush()
    for rows in series:
        (back,) = unspilled(folder, series_of(rows), len(NAMES))
        assert same(back, rows)


def test_the_digest_sees_every_column():
    rows = made()
    base = RowsDigest()
    base.add(rows)
    seen = {whole_digest(base.parts().items())}
    for name in (*WHOLE, "values"):
        changed = getattr(rows, name).copy()
        changed[7] = 99
        other = RowsDigest()
        other.add(FeatureRows(**{**{n: getattr(rows, n) for n in rows.__slots__}, name: changed}))
        seen.add(whole_digest(other.parts().items()))
    assert len(seen) == len(WHOLE) + 2


def test_all_nan_are_one():
    rows = made()
    negative = np.frombuffer(np.uint64(0xFFF8000000000123).tobytes(), dtype=np.float64)[0]
    other = rows.values.copy()
    other[np.isnan(other)] = negative
    changed = FeatureRows(**{**{n: getattr(rows, n) for n in rows.__slots__}, "values": other})
    assert changed.values.tobytes() != rows.values.tobytes()
    assert packed(changed) == packed(rows)


def test_an_atomic_file_is_there_whole_or_not_at_all(tmp_path):
    path = tmp_path / "f"
    path.write_bytes(b"old")

    def interrupted():
        with AtomicFile(path) as file:
            file.temporary.write_bytes(b"half")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert path.read_bytes() == b"old"
    with AtomicFile(path) as file:
        file.temporary.write_bytes(b"new")
        file.commit()
    assert [p.name for p in tmp_path.iterdir()] == ["f"]
    assert sha256_of(path) == hashlib.sha256(b"new").hexdigest()
