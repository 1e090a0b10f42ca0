"""``alphapulse projections``, ``parked`` and ``log`` as a person and a program meet them."""

import asyncio
import json
import select
import signal
from collections.abc import Callable
from dataclasses import replace
from typing import Any
from uuid import uuid4

import msgspec
import psycopg
import pytest
from click.testing import CliRunner, Result

from alphapulse.adapters.database import connection_info
from alphapulse.adapters.store.codec import codec
from alphapulse.adapters.store.postgres import PostgresEventStore
from alphapulse.cli import COMMANDS, HELP
from alphapulse.cli.lazy import group
from alphapulse.domain.market.events import FeedConnected
from alphapulse.domain.ports import Envelope, NewEvent
from alphapulse.processes.project import connector
from alphapulse.projections.candles import Candles
from alphapulse.projections.checkpoint import ensure_live
from alphapulse.projections.generations import newest
from alphapulse.projections.rebuild import fold_until
from alphapulse.projections.runner import connection
from tests.launch import command_line
from tests.projections.candle_logs import store_trades

Run = Callable[..., Result]


class Sideless(Candles):
    """A faulty version of candles: from the fourth batch of S1 on it does not see who was the taker."""

    code_version = 2

    def fold(self, state: Any, events: Any) -> Any:
        return super().fold(state, [_sideless(event) for event in events])


def _sideless(recorded: Any) -> Any:
    if recorded.stream != "trades-test-S1" or recorded.version < 4:
        return recorded
    columns = recorded.event.columns
    blind = replace(recorded.event, columns=replace(columns, side=columns.side * 0))
    return msgspec.structs.replace(recorded, event=blind)


@pytest.fixture
def alphapulse(database_url: str, monkeypatch: pytest.MonkeyPatch) -> Run:
    """A log of some trades with one event that parks, folded; and the command line on it."""
    monkeypatch.setenv("ALPHAPULSE_DATABASE_URL", database_url)
    asyncio.run(fill(database_url))

    def run(*words: object) -> Result:
        return CliRunner().invoke(group("alphapulse", HELP, COMMANDS), [str(word) for word in words])

    return run


async def fill(url: str) -> None:
    async with PostgresEventStore(url) as store, connection(connector(url)) as db:
        await store_trades(store, instruments=2, events=5)
        await store.append(
            [
                NewEvent(
                    stream="trades-test-S0",
                    version=6,
                    name="market.trades_observed.v9",
                    state=b'{"new": true}',
                    envelope=Envelope(event_id=uuid4()),
                )
            ]
        )
        await ensure_live(db, "candles", 1)
        live = await newest(db, "candles", "live")
        await fold_until(db, Candles(), store, codec.decode, live, await store.head())


def objects(result: Result) -> list[dict[str, Any]]:
    return [json.loads(line) for line in result.stdout.splitlines()]


def test_list_shows_generations_with_lag_and_problems(alphapulse: Run) -> None:
    alphapulse("projections", "rebuild", "candles")
    live, retired = objects(alphapulse("projections", "list", "--json"))
    assert (live["generation"], live["state"], live["lag_events"], live["parked"]) == (2, "live", 0, 1)
    assert live["problem"] == "1 events parked"
    assert (retired["generation"], retired["state"], retired["lag_events"]) == (1, "retired", None)
    shown = alphapulse("projections", "list").stdout
    assert "1 events parked" in shown
    assert "retired" in shown


def test_rebuild_compares_swaps_and_can_be_rolled_back(alphapulse: Run) -> None:
    compared, swapped = objects(alphapulse("projections", "rebuild", "candles", "--json", "--workers", 1))
    assert compared["equal"]
    assert (compared["parked_live"], compared["parked_rebuilt"]) == (1, 1)
    assert swapped == {"name": "candles", "generation": 2, "swapped": True}
    (back,) = objects(alphapulse("projections", "rollback", "candles", "--json"))
    assert back["generation"] == 1


def test_no_swap_builds_and_the_next_rebuild_goes_on_from_there(alphapulse: Run) -> None:
    built = alphapulse("projections", "rebuild", "candles", "--no-swap")
    assert "generation 2 is built, not swapped" in built.stdout
    assert "generation 2 is live" in alphapulse("projections", "rebuild", "candles").stdout


def test_verify_names_row_field_and_last_event_of_a_corruption_and_fails(
    alphapulse: Run, database_url: str
) -> None:
    assert alphapulse("projections", "verify", "candles").exit_code == 0
    with psycopg.connect(connection_info(database_url, role=None)) as db:
        db.execute("UPDATE candles SET high = high + 1 WHERE instrument = 'test:S1' AND timeframe = 10080")
    result = alphapulse("projections", "rebuild", "candles", "--verify")
    assert result.exit_code == 1
    assert "1 rows differ" in result.stdout
    assert "candles instrument=test:S1, timeframe=10080" in result.stdout
    assert "high: live" in result.stdout
    assert "market.trades_observed.v1, version 5 of trades-test-S1" in result.stdout
    verdict, row = objects(alphapulse("projections", "verify", "candles", "--json"))
    assert (verdict["equal"], verdict["differing_rows"]) == (False, 1)
    assert list(row["fields"]) == ["high"]


def test_bisect_finds_where_a_faulty_version_parts(alphapulse: Run) -> None:
    against = "tests.cli.test_projections:Sideless"
    found = objects(alphapulse("projections", "bisect", "candles", "--against", against, "--json"))
    assert found[0]["parting"]["stream"] == "trades-test-S1"
    assert found[0]["parting"]["version"] == 4
    assert {field for row in found[1:] for field in row["fields"]} == {"taker_buy_volume"}
    shown = alphapulse("projections", "bisect", "candles", "--against", against).stdout
    assert "version 4 of trades-test-S1" in shown


@pytest.mark.parametrize(
    "against", ["nonsense", "no.such.module:Thing", "tests.cli.test_projections:Nothing"]
)
def test_bisect_against_what_is_not_there_is_a_usage_error(alphapulse: Run, against: str) -> None:
    result = alphapulse("projections", "bisect", "candles", "--against", against)
    assert result.exit_code == 2
    assert against in result.stderr


def test_digest_is_of_the_live_rows_at_their_position(alphapulse: Run) -> None:
    (before,) = objects(alphapulse("projections", "digest", "candles", "--json"))
    alphapulse("projections", "rebuild", "candles")
    (after,) = objects(alphapulse("projections", "digest", "candles", "--json"))
    assert before == after
    assert len(before["digest"]) == 64


def test_parked_events_are_listed_shown_and_tried_again(alphapulse: Run) -> None:
    (event,) = objects(alphapulse("parked", "list", "--json"))
    assert (event["projection"], event["version"]) == ("candles", 6)
    assert "no reader for 'market.trades_observed.v9'" in event["reason"]
    shown = alphapulse("parked", "show", event["id"]).stdout
    assert '{"new": true}' in shown
    tried = alphapulse("parked", "retry", event["id"])
    assert tried.exit_code == 1
    assert "still cannot be folded" in tried.stdout
    assert alphapulse("parked", "retry", "--all", "--json").exit_code == 1


def test_retry_wants_ids_or_all_of_them(alphapulse: Run) -> None:
    assert alphapulse("parked", "retry").exit_code == 2
    assert alphapulse("parked", "retry", 1, "--all").exit_code == 2


def test_log_tells_its_end_and_the_lag_of_each_follower(alphapulse: Run, database_url: str) -> None:
    (facts,) = objects(alphapulse("log", "--json"))
    candles = next(f for f in facts["followers"] if f["name"] == "candles")
    assert (facts["head"], candles["position"], candles["lag_events"]) == (13, 13, 0)
    assert "the log ends at position 13" in alphapulse("log").stdout


def test_log_shows_the_events_asked_for(alphapulse: Run) -> None:
    assert [e["position"] for e in objects(alphapulse("log", "--tail", 3, "--json"))] == [11, 12, 13]
    assert [e["position"] for e in objects(alphapulse("log", "--after", 4, "--limit", 2, "--json"))] == [5, 6]
    of_stream = objects(alphapulse("log", "--stream", "trades-test-S1", "--tail", 2, "--json"))
    assert [(e["stream"], e["version"]) for e in of_stream] == [("trades-test-S1", 4), ("trades-test-S1", 5)]
    assert len(alphapulse("log", "--tail", 100).stdout.splitlines()) == 13
    assert alphapulse("log", "--tail", 1, "--after", 1).exit_code == 2


def test_log_follows_until_it_is_interrupted(alphapulse: Run, database_url: str) -> None:
    """Each new event takes one line at once; Ctrl-C is the normal end."""
    with command_line("log", "--follow", "--json", ALPHAPULSE_DATABASE_URL=database_url) as process:
        assert process.stdout
        appended = 0
        while not select.select([process.stdout], [], [], 0.5)[0]:  # it begins at the end that it finds
            appended += 1
            asyncio.run(append_fact(database_url, appended))
            assert appended < 60
        assert json.loads(process.stdout.readline())["stream"] == "feed-test-S9"
        process.send_signal(signal.SIGINT)
        assert process.wait(timeout=10) == 0


async def append_fact(url: str, version: int) -> None:
    async with PostgresEventStore(url) as store:
        fact = FeedConnected(venue="test", symbol="S9", time=version)
        await store.append([codec.new_event("feed-test-S9", version, fact)])
