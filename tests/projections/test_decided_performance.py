"""Performance and attribution of what an engine decided: the book's own equity, at any position."""

import asyncio
import random
from collections.abc import Iterator
from dataclasses import fields
from math import fsum
from pathlib import Path

import msgspec
import numpy as np
import pytest
from click.testing import CliRunner

from alphapulse.adapters.embedded.postgres import PostgresServer
from alphapulse.adapters.store.postgres import PostgresEventStore
from alphapulse.cli import COMMANDS, HELP
from alphapulse.cli.lazy import group
from alphapulse.domain.decision.strategy_text import to_content
from alphapulse.domain.performance.attribution import DIMENSIONS, UNATTRIBUTED
from alphapulse.domain.performance.equity import equity_of
from alphapulse.domain.performance.trades import Trades
from alphapulse.processes.project import connector
from alphapulse.projections.attribution_queries import attribution_of
from alphapulse.projections.performance_queries import Wanted, trades_of
from alphapulse.projections.runner import connection
from tests import servers
from tests.decided_log import MARKETS, append_bars, fold, recorded
from tests.domain.signals.engine_world import strategy

WORLD = Wanted(strategy="world")


@pytest.fixture(scope="module")
def decided_url(migrated_postgres: PostgresServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A database whose strategy has decided on two markets, folded. Its tests leave it as it is."""
    with servers.fresh_database(migrated_postgres) as url:
        yield decide(url, tmp_path_factory.mktemp("strategy") / "world.json")


def decide(url: str, file: Path) -> str:
    file.write_bytes(msgspec.json.encode(to_content(strategy())))
    run(url, "strategies", "define", "--file", str(file))
    asyncio.run(feed(url))
    run(url, "decide")
    asyncio.run(fold(url))
    return url


async def feed(url: str) -> int:
    async with PostgresEventStore(url) as store:
        return await append_bars(store, MARKETS)


def run(url: str, *words: str) -> None:
    runner = CliRunner(env={"ALPHAPULSE_DATABASE_URL": url})
    result = runner.invoke(group("alphapulse", HELP, COMMANDS), words)
    assert result.exit_code == 0, (result.output, result.exception)


async def test_rows_in_the_order_of_the_log_give_the_equity_of_the_book(decided_url: str) -> None:
    """After every signal that closed. By time, as reports have it, markets of one minute may change turns."""
    async with PostgresEventStore(decided_url) as store, connection(connector(decided_url)) as db:
        closed = await recorded(store, "signal.closed.v1")
        cursor = await db.execute(
            "SELECT position, outcome_position, size_ratio, net_bps FROM candidates WHERE number > 0"
        )
        rows = await cursor.fetchall()
        _, trades = await trades_of(db, WORLD)
    assert len(rows) == len(closed) > 10
    turns = sorted(
        [(row[0], 0, n) for n, row in enumerate(rows)] + [(row[1], 1, n) for n, row in enumerate(rows)]
    )
    equity, notional, after = 1.0, dict[int, float](), list[float]()
    for _, is_close, n in turns:
        if is_close:
            equity += notional[n] * rows[n][3] / 1e4
            after.append(equity)
        else:
            notional[n] = rows[n][2] * equity
    assert after == pytest.approx([each.event.equity for each in closed], abs=1e-12)
    by_time = equity_of(trades, of="signals", risk_ratio=0.01)
    assert by_time.final - 1 == pytest.approx(after[-1] - 1, rel=1e-2)


async def test_what_is_known_at_a_position_is_a_part_of_what_is_known_later(decided_url: str) -> None:
    async with connection(connector(decided_url)) as db:
        head, every = await trades_of(db, WORLD)
        assert len(every) > 50
        for as_of in random.Random(2).sample(range(head), 10):
            position, then = await trades_of(db, WORLD, as_of=as_of)
            assert position == as_of
            known = every.take(every.position <= as_of)
            for field in fields(Trades):
                np.testing.assert_array_equal(getattr(then, field.name), getattr(known, field.name))


@pytest.mark.parametrize("of", ["signals", "refused"])
async def test_its_parts_sum_to_the_whole_and_every_trade_has_votes(decided_url: str, of: str) -> None:
    async with connection(connector(decided_url)) as db:
        for by in DIMENSIONS:
            _, found = await attribution_of(db, WORLD, by, of=of, draws=0)
            assert found.trades > 10
            assert fsum(part.contribution for part in found.parts) == pytest.approx(found.total, abs=1e-9)
            assert {part.key for part in found.parts}.isdisjoint({UNATTRIBUTED, "unknown"})
