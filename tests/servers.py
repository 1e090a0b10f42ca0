"""The real PostgreSQL and nats-server that tests run against, started from the same wheels as in production.

They live in a directory of their own, in memory where there is room, else straight under the temporary
directory: pytest's is closed to the unprivileged user that the servers become when the tests run as root, and
its paths are too long for a socket.
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
SMALL = {
    "shared_buffers": "32MB",
    "max_connections": "60",
    "log_min_messages": "fatal",
    "max_wal_size": "128MB",
    "file_copy_method": "clone",  # the kernel copies the files of a template
}
TEMPLATE = "template_alphapulse"

MEMORY = Path("/dev/shm")  # Linux's file system in memory
ROOM = 4 * 2**30  # bytes that must be free there, and the most that may be taken

_numbers = itertools.count(1)


def spacious_memory() -> Path | None:
    """Where files in memory may lie, programs among them; None where there is no such place, or little room.

    A database of a test's own is hundreds of files: to copy and remove them took 0.03 s of a processor there,
    and 0.05 to 0.25 on a disk.
    """
    try:
        usage, flags = shutil.disk_usage(MEMORY), os.statvfs(MEMORY).f_flag
    except OSError:
        return None
    return MEMORY if usage.free >= ROOM >= usage.used and not flags & os.ST_NOEXEC else None


@contextlib.contextmanager
def open_directory() -> Iterator[Path]:
    """A short-lived directory that every user may enter."""
    path = Path(tempfile.mkdtemp(prefix="alphapulse-test-", dir=spacious_memory()))
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
    query = sql.SQL("CREATE DATABASE {} TEMPLATE {} STRATEGY file_copy")
    with psycopg.connect(server.url(), autocommit=True) as connection:
        connection.execute(query.format(sql.Identifier(name), sql.Identifier(template)))
    try:
        yield server.url(name)
    finally:
        with psycopg.connect(server.url(), autocommit=True) as connection:
            connection.execute(
                sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(name))
            )
