"""``alphapulse features compute|export|diff|drift|check`` as a person and a program meet them."""

import asyncio
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner, Result

from alphapulse.adapters.store.postgres import PostgresEventStore
from alphapulse.cli import COMMANDS, HELP
from alphapulse.cli.lazy import group
from alphapulse.domain.analysis.features import UnknownFeatureSet
from tests.processes.feature_logs import DEFINED, random_events, set_of
from tests.processes.feature_world import World

Run = Callable[..., Result]
SECOND = msgspec.structs.replace(set_of("sma(5)", "ema(9)"), version=2)


@pytest.fixture
def features(database_url: str, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Two versions of a set, three markets, live rows; and the command line on them."""
    monkeypatch.setenv("ALPHAPULSE_DATABASE_URL", database_url)

    async def fill() -> None:
        async with PostgresEventStore(database_url) as store:
            world = World(database_url, store)
            await world.writer.append([DEFINED, SECOND, *random_events(21, batches=20)])
            await world.fold()

    asyncio.run(fill())

    def run(*words: object) -> Result:
        return CliRunner().invoke(group("alphapulse", HELP, COMMANDS), ["features", *map(str, words)])

    return run


def facts(result: Result) -> Any:
    assert result.exit_code in (0, 1, 3), result.output
    return json.loads(result.stdout)


def test_rows_are_computed_exported_and_exported_again(features: Run, tmp_path: Path) -> None:
    summary = facts(features("compute", "s@1", "--json"))
    assert summary["rows"] == sum(s["rows"] for s in summary["series"]) > 100
    assert f"{summary['rows']:,} rows of s@1" in features("compute", "s@1").output
    path = tmp_path / "x.parquet"
    made = facts(features("export", "s@1", "-o", path, "--json"))
    assert made["values_digest"] == summary["digest"]
    assert pq.read_metadata(path).num_rows == summary["rows"]
    manifest = tmp_path / "x.manifest.json"
    again = features("export", "--from-manifest", manifest, "--verify")
    assert again.exit_code == 0
    assert again.output.startswith("the same file:")
    by_rows = facts(features("export", "s@1", "-o", tmp_path / "y.parquet", "--from-rows", "--json"))
    assert by_rows["sha256"] == made["sha256"]
    manifest.write_text(manifest.read_text().replace(made["sha256"], "0" * 64))
    other = features("export", "--from-manifest", manifest, "--verify")
    assert other.exit_code == 1
    assert f"the manifest says {'0' * 64}" in other.output


def test_bounds_choose_rows(features: Run, tmp_path: Path) -> None:
    path = tmp_path / "x.parquet"
    options = ("--instrument", "b:X_USD", "--timeframe", "5m", "--to", "2020-09-14T00:30:00")
    features("compute", "s@1", *options, "-o", path, "--json")
    table = pq.read_table(path)
    assert table.num_rows > 0
    assert set(table.column("timeframe").to_pylist()) == {5}
    assert max(t.isoformat() for t in table.column("start").to_pylist()) < "2020-09-14T00:30"


def test_two_versions_are_compared(features: Run) -> None:
    result = features("diff", "s@1", "s@2")
    assert result.exit_code == 3
    assert "ema_9: only in s@2" in result.output
    found = facts(features("diff", "s@1", "s@2", "--json"))
    assert {v["name"]: v["differing"] for v in found["values"]} == {"sma_5": 0}
    assert features("diff", "s@2", "s@2").exit_code == 0


def test_drift_and_quality_are_told(features: Run) -> None:
    found = facts(features("drift", "s@1", "--thresholds", "window=60,reference=200,min_rows=20", "--json"))
    assert {f["check"] for f in found["findings"]} == {"psi", "ks"}
    assert found["events"] == 0
    split = features("drift", "s@1", "--split", "2020-09-14T01:00:00", "--thresholds", "min_rows=20")
    assert "not judged" in split.output
    patient = features("check", "s@1", "--thresholds", "stale_bars=1e9,window=1,reference=1", "--json")
    assert {f["check"] for f in facts(patient)["findings"]} == {"psi", "ks", "missing", "range", "stale"}
    checked = features("check", "s@1", "--thresholds", "stale_bars=0", "--dry-run", "--json")
    breached = [f for f in facts(checked)["findings"] if f["breached"]]
    assert checked.exit_code == (3 if breached else 0)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("compute", "s@x"), "is not written SET or SET@3"),
        (("export", "s@1"), "a set needs --output"),
        (("export",), "say either a set or --from-manifest"),
        (("compute", "s@1", "--timeframe", "2m"), "is none of 1m"),
        (("compute", "s@1", "--from", "soon"), "is no time such as"),
    ],
)
def test_a_wrong_call_says_what_is_wrong(features: Run, words: tuple[str, ...], said: str) -> None:
    result = features(*words)
    assert result.exit_code == 2
    assert said in " ".join(result.output.replace("│", "").split())


@pytest.mark.parametrize("words", [("compute", "s@9"), ("diff", "s@1", "s@9"), ("check", "s@9")])
def test_a_version_that_is_not_there_is_an_error_everywhere(features: Run, words: tuple[str, ...]) -> None:
    assert isinstance(features(*words).exception, UnknownFeatureSet)
