"""The real PostgreSQL and nats-server that tests run against, started from the same wheels as in production.

They live in a directory of their own straight under the temporary directory: pytest's is closed to the
unprivileged user that the servers become when the tests run as root, and its paths are too long for a socket.
"""

import contextlib
import itertools
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import psycopg
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict

from alphapulse.adapters.database import migrate
from alphapulse.adapters.embedded.nats import NatsServer
from alphapulse.adapters.embedded.postgres import PostgresServer

# Small and without fsync: kill -9 of a process loses nothing that the operating system already has.
SMALL = {"shared_buffers": "32MB", "max_connections": "60", "log_min_messages": "fatal"}
TEMPLATE = "template_alphapulse"

_numbers = itertools.count(1)


@contextlib.contextmanager
def open_directory() -> Iterator[Path]:
    """A short-lived directory that every user may enter."""
    path = Path(tempfile.mkdtemp(prefix="alphapulse-test-"))
    path.chmod(0o755)
    try:
        yield path
    finally:
        shutil.rmtree(path)


@contextlib.contextmanager
def running_postgres(directory: Path) -> Iterator[PostgresServer]:
    server = PostgresServer(directory / "postgres", settings=SMALL, durable=False)
    server.start()
    try:
        yield server
    finally:
        server.stop()


@contextlib.contextmanager
def running_nats(directory: Path) -> Iterator[NatsServer]:
    server = NatsServer(directory / "nats")
    server.start()
    try:
        yield server
    finally:
        server.stop()


def make_template(server: PostgresServer) -> None:
    """A migrated database that others are cloned from."""
    migrate(server.create_database(TEMPLATE))


@contextlib.contextmanager
def copy_of(server: PostgresServer, url: str) -> Iterator[str]:
    """The URL of a copy of the database at ``url``, dropped at the end. Who is connected there is cut off."""
    name = str(conninfo_to_dict(url)["dbname"])
    with psycopg.connect(server.url(), autocommit=True) as connection:
        connection.execute(
            "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE datname = %s", (name,)
        )
    with fresh_database(server, name) as copy:
        yield copy


@contextlib.contextmanager
def fresh_database(server: PostgresServer, template: str = TEMPLATE) -> Iterator[str]:
    """The URL of a new database, cloned from ``template`` and dropped at the end."""
    name = f"test_{os.getpid()}_{next(_numbers)}"
    url = server.create_database(name, template)
    try:
        yield url
    finally:
        with psycopg.connect(server.url(), autocommit=True) as connection:
            connection.execute(
                sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(name))
            )
