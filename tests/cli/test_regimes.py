"""``alphapulse regimes`` as a person and a program meet it, over a real log and its read model."""

import asyncio
import json
from collections.abc import Callable
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
from tests.projections.feature_logs import supply

Run = Callable[..., Result]
FIT = ("regimes", "fit", "venue:V", "--timeframe", "1m", "--kind", "gmm", "--window", 200, "--every", 100)
HOURS = 1_600_000_200 // 3_600 * 3_600  # seconds


def walk(first: int, end: int) -> BarColumns:
    """Minutes whose size changes every 100 bars."""
    rng = np.random.default_rng(3)
    size = np.where(np.arange(end) // 100 % 2, 60, 10)
    close = 100_000 + np.cumsum(np.round(size * rng.normal(0, 1, end))).astype(np.int64)
    open_ = np.concatenate([[100_000], close[:-1]])
    reach = np.round(size * np.abs(rng.normal(0, 0.5, end))).astype(np.int64)
    rows = slice(first, end)
    start = (HOURS + 60 * np.arange(end)) * 1_000_000_000
    return BarColumns(
        start=start[rows], open=open_[rows], high=(np.maximum(open_, close) + reach)[rows],
        low=(np.minimum(open_, close) - reach)[rows], close=close[rows], volume=np.full(end, 5)[rows],
        trade_count=np.full(end, 3)[rows], price_exponent=2, volume_exponent=0,
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
    assert result.exit_code == 0, result.output
    found: dict[str, Any] = json.loads(result.stdout)
    return found


def test_a_model_is_fitted_once_shown_and_refitted_when_bars_have_come(
    alphapulse: Run, database_url: str
) -> None:
    first = bring(database_url, walk(0, 450))
    done = facts(alphapulse(*FIT, "--json"))
    assert (done["name"], done["recorded"], done["skipped"]) == ("venue.v-1m-gmm", [1, 2, 3], [])
    assert facts(alphapulse(*FIT, "--json"))["recorded"] == []

    bring(database_url, walk(450, 600))
    again = alphapulse(*FIT)
    assert "4 trainings, 1 fitted, 3 known before, 0 skipped" in again.stdout
    bring(database_url)

    show = ("regimes", "show", "venue:V", "--timeframe", "1m", "--model", "venue.v-1m-gmm", "--last", 500)
    shown = facts(alphapulse(*show, "--json"))["bars"]
    assert [row["version"] for row in shown][-120:-100] == [3] * 20
    assert {row["regime"] for row in shown if row["version"]} == {0, 1}
    spoken = [row["probabilities"] for row in shown if row["version"]]
    np.testing.assert_allclose(np.sum(spoken, axis=1), 1)
    early = facts(alphapulse(*show, "--json", "--as-of", first + 2))
    assert {row["version"] for row in early["bars"]} == {None, 1, 2}  # the third came after that position
    with pytest.raises(BadModel, match=f"was fitted by position {first}"):
        raise_of(alphapulse(*show, "--as-of", first))
    assert "state 0 is the calmest" in alphapulse(*show).stdout


def test_regimes_by_rules_need_no_model(alphapulse: Run, database_url: str) -> None:
    position = bring(database_url, walk(0, 400))
    show = ("regimes", "show", "venue:V", "--timeframe", "1m", "--last", 400)
    shown = facts(alphapulse(*show, "--json"))
    assert shown["position"] == position
    regimes = [row["regime"] for row in shown["bars"]]
    assert regimes[:270] == [None] * 270
    assert set(regimes[270:]) <= {"trend_up", "trend_down", "range", "turbulence"}
    assert all(0 <= row["rank"] <= 1 for row in shown["bars"][270:])
    assert f"by rules, as of position {position}" in alphapulse(*show).stdout


def test_nothing_to_show_and_nothing_to_fit_are_said(alphapulse: Run, database_url: str) -> None:
    bring(database_url, walk(0, 100))
    assert "no 1d bars" in alphapulse("regimes", "show", "venue:V", "--timeframe", "1d").stdout
    short = alphapulse(*FIT)
    assert short.exit_code == 1
    assert "bars are too few for a training on 200 bars" in short.stdout
    with pytest.raises(BadModel, match="no model 'x' was fitted by position"):
        raise_of(alphapulse("regimes", "show", "venue:V", "--model", "x"))
    assert alphapulse("regimes", "show", "venue:V", "--timeframe", "2m").exit_code == 2


def test_a_model_of_another_market_is_refused(alphapulse: Run, database_url: str) -> None:
    bring(database_url, walk(0, 250))
    facts(alphapulse(*FIT, "--name", "m", "--json"))
    bring(database_url)
    with pytest.raises(BadModel, match="m is of venue:V in 1 minutes"):
        raise_of(alphapulse("regimes", "show", "venue:V", "--timeframe", "5m", "--model", "m"))
    with pytest.raises(BadModel, match="'regime_svm' is none of"):
        raise_of(alphapulse("regimes", "fit", "venue:V", "--kind", "svm"))


def raise_of(result: Result) -> None:
    """What the command raised: ``main`` makes a line on stderr of it."""
    assert result.exception is not None, result.output
    raise result.exception


def test_help_has_examples(alphapulse: Run) -> None:
    for command in ("fit", "show"):
        text = alphapulse("regimes", command, "--help").output
        assert f"alphapulse regimes {command} bitflyer:BTC_JPY" in text
