"""Labels joined with an export: only what was known, or nothing; bad files leave nothing behind."""

from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from alphapulse.adapters.files import labels as label_files
from alphapulse.adapters.files.labels import BadLabels
from alphapulse.adapters.files.parquet_features import write_features
from alphapulse.domain.analysis.feature_rows import FeatureRows
from alphapulse.processes import joining
from alphapulse.processes.joining import NoSuchTimeframe, TooManyRows, join_labels

MINUTE = 60_000_000_000
T0 = 28_000_000  # minutes since 1970


def rows(instrument: str, timeframe: int, starts: list[int], late: int = 0) -> FeatureRows:
    """A row a start, known ``late`` minutes after its bar's end; its value is its start."""
    start = np.array(starts, dtype=np.int64) + T0
    return FeatureRows(
        instrument=instrument, timeframe=timeframe, start=start,
        values=np.array(starts, dtype=float)[:, None],
        known_time=(start + timeframe + late) * MINUTE, position=start, first_position=start,
        input_position=start, flags=np.zeros(len(start), dtype=np.int64),
    )  # fmt: skip


@pytest.fixture
def export(tmp_path: Path) -> Path:
    file = tmp_path / "rows.parquet"
    write_features(
        file, ["f"], [rows("a:X", 1, [0, 1, 2]), rows("a:X", 5, [0]), rows("a:Y", 1, [0, 1], late=10)]
    )
    return file


def label(minute: float) -> str:
    return datetime.fromtimestamp((T0 + minute) * 60, UTC).isoformat()


def joined(export: Path, text: str, **options: int) -> list[float | None]:
    labels, output = export.with_name("labels.csv"), export.with_name("out.parquet")
    labels.write_text(text)
    join_labels(export, labels, output, timeframe=1, **options)
    found: list[float | None] = pq.read_table(output)["f"].to_pylist()
    return found


def test_a_label_gets_the_latest_row_that_was_known_by_then(export: Path) -> None:
    wanted = [("a:X", 0.5, 1), ("a:X", 1, 0), ("a:X", 2.9, 1), ("a:Y", 5, 1), ("a:Y", 12, 0)]
    text = "instrument,time,y\n" + "".join(f"{name},{label(at)},{y}\n" for name, at, y in wanted)
    assert joined(export, text) == [None, 0.0, 1.0, None, 1.0]
    table = pq.read_table(export.with_name("out.parquet"))
    assert table["y"].to_pylist() == [1, 0, 1, 1, 0], "what else the labels hold stays"
    known = table["feature_known_time"].cast(pa.int64()).to_pylist()
    times = table["time"].cast(pa.timestamp("ns")).cast(pa.int64()).to_pylist()
    assert all(k is None or k <= t for k, t in zip(known, times, strict=True))


def test_an_old_row_is_none_where_an_age_is_given(export: Path) -> None:
    text = f"instrument,time\na:X,{label(3.5)}\na:X,{label(60)}\n"
    assert joined(export, text, max_age_ns=MINUTE) == [2.0, None]


def test_a_position_bounds_what_was_known_as_well(export: Path) -> None:
    text = f"instrument,time,position\na:X,{label(10)},{T0 + 1}\na:X,{label(10)},{T0 - 1}\n"
    assert joined(export, text) == [1.0, None]


def test_no_labels_and_unknown_instruments_are_no_error(export: Path) -> None:
    assert joined(export, f"instrument,time\nno:WHERE,{label(10)}\n") == [None]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("instrument,when\na:X,1\n", "no column time among instrument, when"),
        ("instrument,time\na:X,soon\n", "time is of type string, neither a timestamp nor an integer"),
        ("instrument,time\na:X,\na:X,5\n", "1 rows have no time"),
        ("instrument,time,f\na:X,5,1\n", "columns of the same name as features: f"),
        ("", "labels.csv: "),
    ],
)
def test_a_bad_file_is_refused_and_nothing_is_written(export: Path, text: str, says: str) -> None:
    with pytest.raises(BadLabels, match=says):
        joined(export, text)
    assert sorted(p.name for p in export.parent.iterdir()) == ["labels.csv", "rows.parquet"]


def test_a_timeframe_that_is_not_there_is_named_with_those_that_are(export: Path) -> None:
    labels = export.with_name("labels.csv")
    labels.write_text("instrument,time\na:X,5\n")
    with pytest.raises(NoSuchTimeframe, match="no rows of 60 minutes, there are rows of 1, 5"):
        join_labels(export, labels, export.with_name("out.parquet"), timeframe=60)


def test_more_than_fits_is_refused(export: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = "instrument,time\na:X,5\na:X,6\n"
    monkeypatch.setattr(joining, "MAX_CELLS", 4)
    with pytest.raises(TooManyRows, match="over 4 values of 1 minutes"):
        joined(export, text)
    monkeypatch.undo()
    monkeypatch.setattr(label_files, "MAX_LABELS", 1)
    with pytest.raises(BadLabels, match="2 labels, the limit is 1"):
        joined(export, text)
