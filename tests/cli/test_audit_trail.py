"""``audit trail`` and ``audit chain`` over a log in which a strategy has decided."""

import asyncio
import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from click.testing import Result

from alphapulse.adapters.embedded.postgres import PostgresServer
from alphapulse.cli.audit_trail import NoSuchEvent
from alphapulse.projections.audit_trail import Trail
from tests import servers
from tests.cli.test_signals import on
from tests.performance_story import told

Run = Callable[..., Result]


@pytest.fixture(scope="module")
def run(migrated_postgres: PostgresServer) -> Iterator[Run]:
    """The command line on a log of two strategies, folded. Its tests leave it as it is."""
    with servers.fresh_database(migrated_postgres) as url:
        asyncio.run(told(url, Trail()))
        yield on(url)


def entries(result: Result) -> list[Any]:
    assert result.exit_code == 0, result.output
    return [json.loads(line) for line in result.stdout.splitlines()]


def test_the_newest_entries_are_listed_first(run: Run) -> None:
    found = entries(run("audit", "trail", "--last", "50", "--json"))
    positions = [entry["position"] for entry in found]
    assert len(found) == 50
    assert positions == sorted(positions, reverse=True)
    text = run("audit", "trail", "--last", "5").stdout
    assert all(entry["said"] in text for entry in found[:5])


def test_filters_name_what_is_listed(run: Run) -> None:
    words = ("--strategy", "trial", "--name", "signal.issued.v1", "--last", "1000", "--json")
    found = entries(run("audit", "trail", *words))
    assert {(entry["strategy"], entry["name"]) for entry in found} == {("trial", "signal.issued.v1")}
    cut = found[3]["position"]
    assert entries(run("audit", "trail", *words, "--as-of", str(cut))) == found[3:]
    assert entries(run("audit", "trail", "--until", "2000-01-01", "--json")) == []


def test_a_chain_is_asked_for_by_signal_position_or_id(run: Run) -> None:
    by_number = entries(run("audit", "chain", "trial/2", "--json"))
    (signal,) = [e for e in by_number if e["name"] == "signal.issued.v1" and e["number"] == 2]
    assert entries(run("audit", "chain", str(signal["position"]), "--json")) == by_number
    assert entries(run("audit", "chain", signal["event_id"], "--json")) == by_number
    assert "what led to it" in run("audit", "chain", "trial/2").stdout


@pytest.mark.parametrize(
    "what", ["trial/99999", "999999", "nonsense", "6ba7b810-9dad-11d1-80b4-00c04fd430c8"]
)
def test_what_is_not_there_is_named(run: Run, what: str) -> None:
    result = run("audit", "chain", what)
    assert isinstance(result.exception, NoSuchEvent)
    assert what.rpartition("/")[2] in str(result.exception)


def test_a_time_that_is_none_is_refused(run: Run) -> None:
    result = run("audit", "trail", "--since", "yesterday")
    assert result.exit_code == 2
    assert "'yesterday'" in result.output
