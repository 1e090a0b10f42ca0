"""``performance`` and ``attribution`` over a log in which signals were resolved."""

import asyncio
import json
import math
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result

from alphapulse.adapters.embedded.postgres import PostgresServer
from alphapulse.domain.decision.strategy_decider import UnknownStrategy
from alphapulse.domain.performance.figures import Attribution, Performance
from alphapulse.projections.candle_view import NotYetFolded
from tests import servers
from tests.cli.test_signals import on
from tests.performance_story import told

Run = Callable[..., Result]


@pytest.fixture(scope="module")
def run(migrated_postgres: PostgresServer) -> Iterator[Run]:
    """The command line on a log of two strategies, folded. Its tests leave it as it is."""
    with servers.fresh_database(migrated_postgres) as url:
        asyncio.run(told(url))
        yield on(url)


def facts(result: Result) -> Any:
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


def test_figures_are_printed_with_interval_and_sample(run: Run) -> None:
    found = facts(run("performance", "trial", "--json"))
    assert {*Performance.__struct_fields__, "strategy", "position"} == found.keys()
    text = run("performance", "trial").stdout
    for figure in found["figures"]:
        assert figure["title"] in text
    assert f"{found['trades']} signals of " in text
    assert "equity " in text


def test_what_is_asked_for_is_what_is_measured(run: Run) -> None:
    def trades(*words: str) -> int:
        return int(facts(run("performance", "trial", *words, "--json"))["trades"])

    assert trades("--of", "candidates") == trades() + trades("--of", "refused")
    assert trades() == trades("--version", "1") + trades("--version", "2")
    whole = facts(run("performance", "trial", "--of", "candidates", "--json"))
    assert trades("--from", "2300-01-01") == 0
    assert trades("--of", "candidates", "--to", "2200-01-01") == whole["trades"]
    assert trades("--timeframe", "1h") == 0
    assert trades("--instrument", "test:M1", "--of", "candidates") < whole["trades"]


def test_nothing_resolved_is_said_in_words(run: Run) -> None:
    assert "nothing to measure" in run("performance", "trial", "--as-of", "1").stdout
    assert "nothing to attribute" in run("attribution", "trial", "--as-of", "1").stdout


@pytest.mark.parametrize("by", ["voter", "pattern", "feature_group", "regime", "venue", "hour", "version"])
def test_parts_are_printed_and_sum_to_the_whole(run: Run, by: str) -> None:
    found = facts(run("attribution", "trial", "--by", by, "--json"))
    assert {*Attribution.__struct_fields__, "strategy", "position"} == found.keys()
    assert math.fsum(part["contribution"] for part in found["parts"]) == pytest.approx(
        found["total"], abs=1e-9
    )
    text = run("attribution", "trial", "--by", by).stdout
    assert f"{found['total']:+.5f}" in text
    assert found["parts"][0]["key"].replace("_", " ") in text


@pytest.mark.parametrize("command", ["performance", "attribution"])
@pytest.mark.parametrize("suffix", ["png", "svg", "html"])
def test_it_is_drawn_to_a_file(run: Run, tmp_path: Path, command: str, suffix: str) -> None:
    path = tmp_path / f"drawn.{suffix}"
    result = run(command, "trial", "-o", path)
    assert result.exit_code == 0, result.output
    beginning = {"png": b"\x89PNG", "svg": b"<?xml", "html": b"<!doctype html>"}[suffix]
    assert path.read_bytes().lower().startswith(beginning.lower())


def test_what_cannot_be_asked_is_refused_with_its_value(run: Run, tmp_path: Path) -> None:
    assert isinstance(run("performance", "nobody").exception, UnknownStrategy)
    assert isinstance(run("attribution", "trial", "--as-of", "99999").exception, NotYetFolded)
    swapped = run("performance", "trial", "--from", "2026-01-02", "--to", "2026-01-01")
    assert swapped.exit_code == 2
    assert "--from 2026-01-02 is not before --to 2026-01-01" in swapped.output.replace("\n", " ")
    odd = run("performance", "trial", "-o", tmp_path / "drawn.gif")
    assert odd.exit_code == 2
    assert ".gif" in odd.output
    assert not list(tmp_path.iterdir())
