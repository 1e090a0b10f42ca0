"""``parity`` and ``counterfactual`` on the command line: tables, JSON, exit codes, what is recorded."""

import asyncio
import json
from collections.abc import Callable, Iterator
from typing import Any

import msgspec
import psycopg
import pytest
from click.testing import CliRunner, Result

from alphapulse.adapters.database import connection_info
from alphapulse.adapters.embedded.postgres import PostgresServer
from alphapulse.adapters.store.codec import codec
from alphapulse.adapters.store.postgres import PostgresEventStore
from alphapulse.cli import COMMANDS, HELP
from alphapulse.cli.lazy import group
from alphapulse.domain.backtest.variants import BadVariant
from alphapulse.domain.decision.strategy_decider import UnknownStrategy
from alphapulse.domain.decision.strategy_text import to_content
from tests import servers
from tests.decided_log import MARKETS, append_bars, recorded
from tests.domain.signals.engine_world import strategy

Run = Callable[..., Result]


def on(url: str) -> Run:
    """The command line on a database."""

    def run(*words: object) -> Result:
        runner = CliRunner(env={"ALPHAPULSE_DATABASE_URL": url})
        return runner.invoke(group("alphapulse", HELP, COMMANDS), [str(word) for word in words])

    return run


@pytest.fixture(scope="module")
def decided_url(migrated_postgres: PostgresServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A database in which a strategy has decided on two markets; tests add trials to it, nothing else."""
    with servers.fresh_database(migrated_postgres) as url:
        file = tmp_path_factory.mktemp("strategy") / "world.json"
        file.write_bytes(msgspec.json.encode(to_content(strategy())))
        facts(on(url)("strategies", "define", "--file", file, "--json"))
        asyncio.run(feed(url))
        facts(on(url)("decide", "--json"))
        yield url


async def feed(url: str) -> int:
    async with PostgresEventStore(url) as store:
        return await append_bars(store, MARKETS)


@pytest.fixture
def decided(decided_url: str) -> Run:
    return on(decided_url)


def facts(result: Result) -> Any:
    assert result.exit_code == 0, (result.output, result.exception)
    return json.loads(result.stdout)


def trials(url: str) -> list[Any]:
    async def go() -> list[Any]:
        async with PostgresEventStore(url) as store:
            return [each.event for each in await recorded(store, "trial.recorded.v1")]

    return asyncio.run(go())


# -- parity -----------------------------------------------------------------------------------------


def test_parity_tells_what_was_compared(decided: Run) -> None:
    shown = decided("parity", "world")
    assert shown.exit_code == 0, (shown.output, shown.exception)
    found = facts(decided("parity", "world", "--json"))
    assert found["identical"] is True
    for kind in ("decisions", "outcomes", "signals issued", "signals closed"):
        count = found["counts"][kind]
        assert count["compared"] == count["identical"] > 0
        assert f"{count['identical']:,}" in shown.stdout
    assert shown.stdout.splitlines()[-1].endswith(": identical")


def test_parity_compares_the_last_days_or_what_it_is_told(decided: Run) -> None:
    whole = facts(decided("parity", "world", "--json"))
    part = facts(decided("parity", "world", "--days", 0.1, "--json"))
    assert 0 < part["counts"]["decisions"]["compared"] < whole["counts"]["decisions"]["compared"]
    assert part["last_time"] - part["first_time"] == 8_640 * 10**9
    words = ("--from", "2023-11-15T00:00", "--to", "2023-11-15T12:00")
    span = facts(decided("parity", "world", *words, "--json"))
    assert span["last_time"] - span["first_time"] == 12 * 3_600 * 10**9
    wrong = decided("parity", "world", "--from", "2033-01-01")
    assert wrong.exit_code == 2
    assert "is after" in wrong.output


def test_parity_ends_with_1_and_names_what_differs(
    migrated_postgres: PostgresServer, decided_url: str
) -> None:
    with servers.copy_of(migrated_postgres, decided_url) as url:
        with psycopg.connect(connection_info(url, role=None), autocommit=True) as db:
            query = "SELECT notification_id, originator_id, originator_version, state FROM stored_events"
            row = db.execute(f"{query} WHERE topic = 'outcome.recorded.v1' LIMIT 1").fetchone()
            assert row is not None
            event = codec.read("outcome.recorded.v1", bytes(row[3]))
            better = msgspec.structs.replace(
                event, outcome=msgspec.structs.replace(event.outcome, net_bps=1234.5)
            )
            db.execute("ALTER TABLE stored_events DISABLE TRIGGER log_only_grows")
            db.execute(
                "UPDATE stored_events SET state = %s WHERE notification_id = %s",
                (codec.encode(better).state, row[0]),
            )
        shown = on(url)("parity", "world")
        assert shown.exit_code == 1
        assert f"{row[1]} version {row[2]}, position {row[0]}: differs" in shown.stdout
        assert f"outcome.net_bps: recorded 1234.5, derived {event.outcome.net_bps!r}" in shown.stdout
        assert shown.stdout.splitlines()[-1].endswith("1 events are not what follows from the log")


def test_parity_of_what_is_not_there_is_said(decided: Run) -> None:
    for words, said in (
        (("other",), "no strategy 'other'"),
        (("world", "--version", 2), "there are 1 versions"),
    ):
        result = decided("parity", *words)
        assert isinstance(result.exception, UnknownStrategy)
        assert said in str(result.exception)


# -- counterfactual ---------------------------------------------------------------------------------


def test_a_counterfactual_is_told_and_counted_once(decided: Run, decided_url: str) -> None:
    words = ("counterfactual", "world", "--without-voter", "c", "--set", "risk.fee_bps=1")
    first = facts(decided(*words, "--json"))
    assert (first["change"], first["recorded"]) == ("without c, risk.fee_bps=1", True)
    assert first["trial_is_new"] is True
    shown = decided(*words)
    assert shown.exit_code == 0, (shown.output, shown.exception)
    assert "world.1, had it been another: without c, risk.fee_bps=1" in shown.stdout
    assert f"trial {first['trial'][:12]} was counted before" in shown.stdout
    for text in ("only as it is", "would have earned", "the change: ", "first to differ: world.1/"):
        assert text in shown.stdout
    mine = [trial for trial in trials(decided_url) if trial.trial == first["trial"]]
    assert [trial.kind for trial in mine] == ["counterfactual"]
    assert mine[0].decisions_digest == first["changed"]["decisions_digest"]


def test_a_dry_run_counts_nothing(decided: Run, decided_url: str) -> None:
    before = len(trials(decided_url))
    found = facts(decided("counterfactual", "world", "--gate", 0.9, "--dry-run", "--json"))
    assert found["trial_is_new"] is None
    assert "not counted" in decided("counterfactual", "world", "--gate", 0.9, "--dry-run").stdout
    assert len(trials(decided_url)) == before


def test_a_change_that_is_none_is_refused_and_not_counted(decided: Run, decided_url: str) -> None:
    before = len(trials(decided_url))
    result = decided("counterfactual", "world")
    assert isinstance(result.exception, BadVariant)
    assert "nothing is asked for" in str(result.exception)
    assert len(trials(decided_url)) == before
