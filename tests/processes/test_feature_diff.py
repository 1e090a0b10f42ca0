"""Two versions of a set: what their definitions and values do not share."""

import math
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from alphapulse.adapters.store.postgres import PostgresEventStore
from alphapulse.domain.analysis.feature_rows import FeatureRows
from alphapulse.processes.computing import compute, wanted_rows
from alphapulse.processes.feature_diff import ValueChange, definition_changes, difference
from tests.processes.feature_logs import DEFINED, Writer, random_events, set_of

CHANGED = msgspec.structs.replace(set_of("sma(5)", "ema(8)", "rsi(6)"), version=2)


def test_a_definition_that_changed_says_how() -> None:
    before = set_of("sma(5)", "ema(8)")
    slower = msgspec.structs.replace(before.features[0], parameters={"period": 6.0}, code_version=2)
    after = msgspec.structs.replace(before, features=(slower, set_of("rsi(4)").features[0]))
    changed, removed, added = definition_changes(before, after)
    assert (changed.name, changed.fields) == ("sma_5", ["parameters", "code_version"])
    assert (removed.name, removed.after) == ("ema_8", None)
    assert (added.name, added.before) == ("rsi_4", None)
    assert definition_changes(before, before) == []


def rows(starts: list[int]) -> FeatureRows:
    zeros = np.zeros(len(starts), dtype=np.int64)
    return FeatureRows("a:X", 5, np.array(starts), np.empty((0, 0)), zeros, zeros, zeros, zeros, zeros)


def test_values_are_compared_row_by_row() -> None:
    change = ValueChange(name="f")
    nan = math.nan
    change.take(rows([0, 5, 10, 15]), np.array([nan, 1.0, 2.0, nan]), np.array([nan, 1.0, 2.5, 3.0]))
    assert (change.rows, change.differing, change.share) == (4, 2, 0.5)
    assert (change.max_abs, change.max_rel) == (0.5, 0.2)
    assert change.first == ("a:X", 5, 10)


async def test_two_versions_over_a_log(database_url: str, tmp_path: Path) -> None:
    async with PostgresEventStore(database_url) as store:
        await Writer(store).append([DEFINED, CHANGED, *random_events(6, batches=25)])
        before, after = await wanted_rows(store, "s", 1), await wanted_rows(store, "s", 2)
        first: list[Any] = []
        await compute(store, before, lambda piece, _: first.append(piece))
    found = await difference(database_url, before, after, tmp_path / "x")
    assert {c.name for c in found.definition} == {
        "atr_6", "bbands_7_2.upper", "sma_3.60", "obv", "taker_imbalance_5", "rsi_6",
    }  # fmt: skip
    assert {c.name: c.differing for c in found.values} == {"sma_5": 0, "ema_8": 0}
    assert found.values[0].rows == sum(len(piece) for piece in first) > 200
    assert found.missing == (0, 0)
    assert not found.is_empty
    same = await difference(database_url, before, before, tmp_path / "x")
    assert same.is_empty
    assert list(tmp_path.iterdir()) == []  # noqa: ASYNC240
