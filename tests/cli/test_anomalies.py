"""``alphapulse anomalies`` as a person and a program meet it, over a real log and its read model."""

import asyncio
import json
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner, Result

from alphapulse.adapters.store import codec
from alphapulse.adapters.store.postgres import PostgresEventStore
from alphapulse.cli import COMMANDS, HELP
from alphapulse.cli.lazy import group
from alphapulse.domain.analysis.models import BadModel
from alphapulse.domain.market.columns import BarColumns
from alphapulse.processes.project import connector
from alphapulse.projections.checkpoint import ensure_live
from alphapulse.projections.features import Features
from alphapulse.projections.generations import newest
from alphapulse.projections.rebuild import fold_until
from alphapulse.projections.runner import connection
from tests.domain.analysis.series import walk
from tests.projections.feature_logs import supply

Run = Callable[..., Result]
BEGIN = 1_600_000_200 // 3_600 * 3_600  # seconds
COUNT, PLANTED = 1_100, 1_000
FIT = ("anomalies", "fit", "venue:V", "1m", "--trees", 25, "--window", 700)


def moment(minute: int) -> str:
    return datetime.fromtimestamp(BEGIN + 60 * minute, UTC).strftime("%Y-%m-%dT%H:%M:%S")


def market(first: int = 0, end: int = COUNT) -> BarColumns:
    """Minutes of a walk; one of them falls by a tenth on sixty times the volume."""
    values = walk(COUNT, 3)
    values[5, PLANTED] = 60 * np.median(values[5])
    values[1:5] = np.round(values[1:5] * 100)
    values[3:5, PLANTED] *= 0.9
    open_, high, low, close = values[1:5].astype(np.int64)
    rows = slice(first, end)
    return BarColumns(
        start=((BEGIN + 60 * np.arange(COUNT)) * 1_000_000_000)[rows], open=open_[rows], high=high[rows],
        low=low[rows], close=close[rows], volume=np.round(values[5] * 1_000).astype(np.int64)[rows],
        trade_count=values[7].astype(np.int64)[rows], price_exponent=2, volume_exponent=3,
    )  # fmt: skip


def bring(url: str, *batches: BarColumns) -> int:
    """Record ``batches`` and fold them; the last position."""

    async def go() -> int:
        async with PostgresEventStore(url) as store, connection(connector(url)) as db:
            position = await supply(store, batches)
            await ensure_live(db, "features", Features().code_version)
            live = await newest(db, "features", "live")
            await fold_until(db, Features(), store, codec.decode, live, await store.head())
            return position

    return asyncio.run(go())


@pytest.fixture
def alphapulse(database_url: str, monkeypatch: pytest.MonkeyPatch) -> Run:
    monkeypatch.setenv("ALPHAPULSE_DATABASE_URL", database_url)

    def run(*words: object) -> Result:
        return CliRunner().invoke(group("alphapulse", HELP, COMMANDS), [str(word) for word in words])

    return run


def facts(result: Result) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(result.stdout)
    return found


def test_a_forest_is_fitted_recorded_and_finds_what_was_planted(alphapulse: Run, database_url: str) -> None:
    bring(database_url, market())
    fitted = facts(alphapulse(*FIT, "--until", moment(900), "--json"))
    assert (fitted["model"], fitted["version"]) == ("forest-venue.v-1m", 1)
    assert fitted["bars"] == fitted["bars_used"] == 700
    assert fitted["worst_difference"] < 2e-6
    again = facts(alphapulse(*FIT, "--until", moment(900), "--json"))
    assert again == fitted
    scored = facts(alphapulse("anomalies", "score", "venue:V", "1m", "--last", 300, "--top", 3, "--json"))
    assert scored["looked_at"] == 300
    # Known by 900 is all that ended by then; the last bar is not known to have ended.
    assert 198 <= scored["scored"] <= 200
    assert scored["bars"][0]["start"] == moment(PLANTED).replace("T", " ")
    assert scored["bars"][0]["score"] > fitted["score_quantile_0.99"]
    assert [bar["score"] for bar in scored["bars"]] == sorted(
        (b["score"] for b in scored["bars"]), reverse=True
    )


def test_a_person_reads_sentences(alphapulse: Run, database_url: str) -> None:
    bring(database_url, market())
    said = alphapulse(*FIT, "--until", moment(900)).stdout
    known = "fitted on 700 of 700 bars known by 2020-09-14 03:00:00; "
    assert said.startswith(f"forest-venue.v-1m, version 1: {known}")
    shown = alphapulse("anomalies", "score", "venue:V", "1m", "--top", 2)
    assert moment(PLANTED).replace("T", " ") in shown.stdout
    assert "of the last 500 bars have a score" in shown.stdout


def test_what_was_known_then_gives_the_model_of_then(alphapulse: Run, database_url: str) -> None:
    then = bring(database_url, market(0, 900))
    first = facts(alphapulse(*FIT, "--name", "a", "--json"))
    bring(database_url, market(900))
    second = facts(alphapulse(*FIT, "--name", "b", "--as-of", then, "--json"))
    assert first["bars"] == 700
    assert {k: v for k, v in first.items() if k not in ("model", "digest")} == {
        k: v for k, v in second.items() if k not in ("model", "digest")
    }
    assert facts(alphapulse(*FIT, "--name", "a", "--json"))["version"] == 2


def test_a_model_of_another_market_or_of_none_is_refused(alphapulse: Run, database_url: str) -> None:
    bring(database_url, market())
    missing = alphapulse("anomalies", "score", "venue:V", "1m")
    assert isinstance(missing.exception, BadModel)
    assert "no model is called forest-venue.v-1m: fit it" in str(missing.exception)
    alphapulse(*FIT, "--name", "mine")
    other = alphapulse("anomalies", "score", "venue:W", "1m", "--name", "mine")
    assert "mine was fitted on venue:V, 1 minutes" in str(other.exception)
    changed = alphapulse(*FIT, "--name", "mine", "--seed", 2)
    assert "choose another name" in str(changed.exception)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("fit", "venue:V", "2m"), "'2m' is none of 1m, 5m"),
        (("score", "venue:V", "2m"), "'2m' is none of 1m, 5m"),
        (("fit", "venue:V", "1m", "--until", "soon"), "'soon' is no time such as"),
        (("fit", "venue:V", "1m", "--trees", 0), "trees 0: 1 to 500"),
        (("fit", "venue:V", "1m", "--feature", "nonsense"), "no indicator is called 'nonsense'"),
    ],
)
def test_a_wrong_call_says_what_is_wrong(alphapulse: Run, words: tuple[object, ...], message: str) -> None:
    result = alphapulse("anomalies", *words)
    assert result.exit_code == 2
    assert message in " ".join(result.output.replace("│", " ").split())


@pytest.mark.parametrize("command", ["fit", "score"])
def test_help_has_an_example(alphapulse: Run, command: str) -> None:
    assert (
        f"alphapulse anomalies {command} bitflyer:BTC_JPY"
        in alphapulse("anomalies", command, "--help").stdout
    )
