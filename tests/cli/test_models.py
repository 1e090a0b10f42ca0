"""``alphapulse models`` as a person and a program meet it, over a real log and its read model."""

import asyncio
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from alphapulse.adapters.store.postgres import PostgresEventStore
from alphapulse.cli import COMMANDS, HELP
from alphapulse.cli.lazy import group
from alphapulse.domain.analysis.features import UnknownFeatureSet
from alphapulse.domain.learning.labels import BadBarriers
from alphapulse.processes.fitting import TrainingMissing
from alphapulse.processes.models import UnknownModel
from tests.domain.decision.learned_models import dense
from tests.processes.feature_world import World
from tests.processes.learnable_logs import DEFINED, minutes

Run = Callable[..., Result]
QUICK = (
    "--timeframe",
    "1m",
    "--trees",
    30,
    "--rate",
    0.1,
    "--least",
    20,
    "--folds",
    3,
    "--horizon",
    12,
    "--distance",
    1.5,
)


@pytest.fixture
def run(database_url: str, monkeypatch: pytest.MonkeyPatch) -> Run:
    monkeypatch.setenv("ALPHAPULSE_DATABASE_URL", database_url)

    async def bring() -> None:
        async with PostgresEventStore(database_url) as store:
            world = World(database_url, store)
            await world.writer.append([DEFINED, *minutes(1, 1_600)])
            await world.fold()

    asyncio.run(bring())

    def invoke(*words: object) -> Result:
        return CliRunner().invoke(group("alphapulse", HELP, COMMANDS), [str(w) for w in ("models", *words)])

    return invoke


def facts(result: Result) -> Any:
    assert result.exit_code == 0, (result.output, result.exception)
    return json.loads(result.stdout)


def test_what_was_trained_is_listed_and_shown(run: Run) -> None:
    said = run("train-baseline", *QUICK)
    assert said.exit_code == 0, (said.output, said.exception)
    assert "boosted-core-1m, version 1:" in said.stdout
    assert "out of fold" in said.stdout
    again = facts(run("train-baseline", *QUICK, "--json"))
    assert (again["version"], again["set"]) == (1, "core@1"), "the same rows: nothing new"
    assert again["metrics"]["out_of_fold_auc"] > 0.5
    logistic = facts(
        run(
            "fit-logistic",
            "--timeframe",
            "1m",
            "--folds",
            3,
            "--feature",
            "rsi_14",
            "--feature",
            "return_5",
            "--json",
        )
    )
    assert logistic["features"] == ["rsi(period=14)", "return(period=5)"]
    listed = [json.loads(line) for line in run("list", "--json").stdout.splitlines()]
    assert [each["name"] for each in listed] == ["boosted-core-1m", "logistic-core-1m"]
    table = run("list")
    assert "onnx_votes" in table.stdout
    assert "2 models" in table.stdout
    shown = run("show", "boosted-core-1m")
    assert "out_of_fold_brier" in shown.stdout
    assert "features: rsi_14, return_5" in shown.stdout
    assert facts(run("show", "boosted-core-1m", "--version", 1, "--json"))["digest"] == again["digest"]


def test_a_model_of_ones_own_is_registered(run: Run, tmp_path: Path) -> None:
    file = tmp_path / "mine.onnx"
    file.write_bytes(dense())
    words = ("register", file, "--name", "mine", "--features-from", "core@1", "--timeframe", "1m")
    said = run(*words, "--feature", "rsi_14", "--feature", "return_5")
    assert said.exit_code == 0, (said.output, said.exception)
    assert "mine version 1:" in said.stdout
    assert "2 features of core@1" in said.stdout
    wide = run(*words)
    assert "wanted float [n, 8]" in str(wide.exception)
    assert len(run("list", "--json").stdout.splitlines()) == 1


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("train-baseline", "--timeframe", "7m"), "'7m' is none of"),
        (("train-baseline", "--set", "core@x"), "'core@x' is not NAME or NAME@VERSION"),
        (("train-baseline", "--until", "soon"), "'soon' is no time"),
    ],
)
def test_what_was_wrongly_asked_for_is_said(run: Run, words: tuple[str, ...], message: str) -> None:
    result = run(*words)
    assert result.exit_code == 2
    assert message in " ".join(result.output.replace("│", " ").split())


def test_what_cannot_be_is_said_in_our_own_words(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    for words, error in (
        (("train-baseline", "--set", "none"), UnknownFeatureSet),
        (("train-baseline", "--horizon", "0"), BadBarriers),
        (("show", "nobody"), UnknownModel),
    ):
        assert isinstance(run(*words).exception, error), words
    monkeypatch.setitem(sys.modules, "sklearn.ensemble", None)
    missing = run("train-baseline", *QUICK).exception
    assert isinstance(missing, TrainingMissing)
    assert "pip install 'alphapulse[train]'" in str(missing)


def test_help_has_examples(run: Run) -> None:
    for command in ("train-baseline", "fit-logistic", "register", "list", "show"):
        assert f"alphapulse models {command}" in run(command, "--help").output
