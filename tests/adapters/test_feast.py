"""Feast over our export and our database gives what our own join and our latest vectors give.

Feast wants an older pandas, so it runs in ``.venv-feast`` (``make test-feast`` builds it) by subprocess.
"""

import asyncio
import json
import math
import os
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from alphapulse.adapters.feast_bridge import offline_file, online_store, view_name
from alphapulse.adapters.files.parquet_features import read_features, write_features
from alphapulse.adapters.store.postgres import PostgresEventStore
from alphapulse.domain.analysis.feature_rows import FeatureRows
from alphapulse.domain.analysis.point_in_time import FeatureTable, Labels, join
from alphapulse.processes.exporting import export
from alphapulse.projections.feature_queries import latest
from tests.processes.feature_logs import DEFINED, NAMES, random_events
from tests.processes.feature_world import World

ROOT = Path(__file__).parents[2]
PYTHON = ROOT / ".venv-feast" / "bin" / "python"


def test_a_view_is_named_by_letters_digits_and_underscores() -> None:
    assert view_name("mean-reversion.fast", 3) == "mean_reversion_fast_v3"


def test_the_online_store_is_at_our_address() -> None:
    found = online_store("postgresql://me:secret@db.example:5433/prices?sslmode=verify-full")
    assert {k: found[k] for k in ("host", "port", "database", "user", "password", "sslmode")} == {
        "host": "db.example", "port": 5433, "database": "prices", "user": "me", "password": "secret",
        "sslmode": "verify-full",
    }  # fmt: skip


def test_of_rows_known_at_one_moment_the_last_is_kept_for_feast(tmp_path: Path) -> None:
    known = [1, 2, 2, 2, 5, 5, 9]
    n = np.arange(len(known))
    series = [
        FeatureRows(name, 1, n, n[:, None] + 0.5, np.array(known, dtype=np.int64), n, n, n, n)
        for name in ("a:X", "b:X")
    ]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("alphapulse.adapters.files.parquet_features.ROW_GROUP", 3)
        write_features(tmp_path / "export", ["f"], series)
    assert offline_file(tmp_path / "export", tmp_path / "offline") == 8
    kept = [rows.start.tolist() for rows in read_features(tmp_path / "offline")]
    assert kept == [[0, 3, 5, 6], [0, 3, 5, 6]]


def plain(values: Any) -> list[float | None]:
    return [None if math.isnan(v) else float(v) for v in values]


def labels_of(tables: dict[int, FeatureTable]) -> list[tuple[str, int, int]]:
    """Moments at, just before and between known times, and before there was anything."""
    rng = np.random.default_rng(0)
    found = []
    for timeframe, table in tables.items():
        for row in rng.choice(len(table.start), 15):
            known = int(table.known_time[row])
            # Feast's timestamps hold microseconds.
            moments = (known, known - 1_000, known + int(rng.integers(1, 10**7)) * 1_000)
            found += [(table.instrument[row], timeframe, moment) for moment in moments]
        found.append((NAMES[0], timeframe, 1_000_000_000_000_000_000))
    return list(dict.fromkeys(found))  # Feast answers a label that comes twice once


async def asked_of(url: str, folder: Path) -> tuple[dict[str, Any], list[Any], list[Any]]:
    """The question for Feast, and what we answer to it ourselves."""
    async with PostgresEventStore(url) as store:
        world = World(url, store)
        await world.writer.append([DEFINED, *random_events(31, batches=25)])
        await world.fold()
        path = folder / "rows.parquet"
        manifest = await export(url, await world.wanted(), path)
        tables = {t: table_of(path, t) for t in DEFINED.timeframes}
        labels = labels_of(tables)
        joined: list[Any] = []
        for instrument, timeframe, time in labels:
            one = Labels(instrument=[instrument], time=np.array([time], dtype=np.int64))
            joined.append(plain(join(tables[timeframe], one).values[0]))
        vectors = []
        async with await world.connect() as db:
            for timeframe in DEFINED.timeframes:
                _, found = await latest(db, "s", 1, timeframe, NAMES)
                vectors += [
                    {
                        "instrument": v.instrument,
                        "timeframe": timeframe,
                        "known_time": v.known_time,
                        "values": plain(v.values),
                    }
                    for v in found.values()
                ]
    question = {
        "set": "s", "version": 1, "features": list(DEFINED.columns), "digest": manifest.set_digest,
        "parquet": str(path), "database_url": url, "labels": labels, "latest": vectors,
    }  # fmt: skip
    return question, joined, [v["values"] for v in vectors]


def table_of(path: Path, timeframe: int) -> FeatureTable:
    pieces = [rows for rows in read_features(path) if rows.timeframe == timeframe]
    return FeatureTable(
        columns=DEFINED.columns,
        instrument=[rows.instrument for rows in pieces for _ in range(len(rows))],
        start=np.concatenate([rows.start for rows in pieces]),
        known_time=np.concatenate([rows.known_time for rows in pieces]),
        position=np.concatenate([rows.position for rows in pieces]),
        values=np.concatenate([rows.values for rows in pieces]),
    )


@pytest.mark.skipif(not PYTHON.exists(), reason="no .venv-feast: `make test-feast` builds it")
def test_feast_gives_what_our_own_join_and_our_latest_vectors_give(database_url: str, tmp_path: Path) -> None:
    question, joined, newest = asyncio.run(asked_of(database_url, tmp_path))
    assert len(joined) > 100
    assert any(value is not None for row in joined for value in row)
    (tmp_path / "question.json").write_text(json.dumps(question))
    done = subprocess.run(
        [PYTHON, "-m", "tests.adapters.feast_check", tmp_path],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT), "FEAST_USAGE": "False"},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3_000:]
    answer = json.loads((tmp_path / "answer.json").read_text())
    assert answer["view"] == "s_v1"
    answered = dict(zip(answer["numbers"], answer["historical"], strict=True))
    # Where nothing was known yet, Feast leaves the label out; our join says that nothing was.
    unanswered = [row for number, row in enumerate(joined) if number not in answered]
    assert len(answered) > 100
    assert unanswered == [[None] * len(DEFINED.columns)] * len(unanswered) != []
    assert answered == {number: joined[number] for number in answered}
    assert answer["online"] == [*newest, [None] * len(DEFINED.columns)]
