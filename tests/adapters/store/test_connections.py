"""Readers of the log: connections go back to where they came from, or are closed."""

import asyncio
import threading
from typing import Any

import psycopg

from alphapulse.adapters.store.connections import Connections


async def test_a_connection_in_use_at_the_end_is_closed_by_the_thread_that_uses_it(database_url: str) -> None:
    made: list[psycopg.Connection[Any]] = []
    at_work, go_on = threading.Event(), threading.Event()

    def connect() -> psycopg.Connection[Any]:
        made.append(psycopg.connect(database_url, autocommit=True))
        return made[-1]

    def work(connection: psycopg.Connection[Any]) -> None:
        connection.execute("SELECT 1")
        at_work.set()
        go_on.wait(10)

    connections = Connections(connect, size=1, timeout_s=10)
    reading = asyncio.create_task(connections.run(work))
    await asyncio.to_thread(at_work.wait, 10)
    connections.close()
    assert not made[0].closed, "its thread still reads from it"
    go_on.set()
    await reading
    assert made[0].closed


async def test_idle_connections_are_closed_at_the_end(database_url: str) -> None:
    made: list[psycopg.Connection[Any]] = []

    def connect() -> psycopg.Connection[Any]:
        made.append(psycopg.connect(database_url, autocommit=True))
        return made[-1]

    connections = Connections(connect, size=2, timeout_s=10)
    assert await connections.rows("SELECT 1") == await connections.rows("SELECT 1") == [(1,)]
    assert len(made) == 1, "one after the other needs one"
    connections.close()
    assert made[0].closed
