"""Desks of one process: as many as there may be, one for what is new, none held by what is over."""

import asyncio
import logging

import pytest

from alphapulse.adapters.store.postgres import PostgresEventStore
from alphapulse.domain.decision.strategy import StrategyRetired
from alphapulse.processes import desks
from alphapulse.processes.desks import connector
from alphapulse.projections.decider_states import reached
from tests.domain.signals.engine_world import strategy
from tests.processes.test_deciding import append, deciding


async def until_reached(url: str, name: str, position: int) -> None:
    async with asyncio.timeout(60), await connector(url)() as db:
        while not any(each.strategy == name and each.position >= position for each in await reached(db)):
            await asyncio.sleep(0.05)


async def test_a_strategy_that_is_over_makes_room_for_the_next(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(desks, "MAX_JOBS", 1)
    async with PostgresEventStore(database_url) as store, deciding(database_url):
        await append(store, strategy(name="first"))
        over = await append(store, StrategyRetired(name="first", version=1, reason="enough"))
        await until_reached(database_url, "first", over)
        position = await append(store, strategy(name="second"))
        await until_reached(database_url, "second", position)


async def test_what_finds_no_desk_is_said_and_gets_one_as_soon_as_there_is_room(
    database_url: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(desks, "MAX_JOBS", 1)
    async with PostgresEventStore(database_url) as store, deciding(database_url):
        await append(store, strategy(name="first"))
        position = await append(store, strategy(name="second"))
        async with asyncio.timeout(60):
            while "second.1 part 0 of 1 is not worked on: 1 desks are the most" not in caplog.text:
                await asyncio.sleep(0.05)
        assert [r.levelno for r in caplog.records if "not worked on" in r.message] == [logging.ERROR]
        await append(store, StrategyRetired(name="first", version=1, reason="enough"))
        await until_reached(database_url, "second", position)
