"""Addresses, and the migrations as code and by hand."""

import asyncio
import os
import subprocess
import sys
from pathlib import Path

import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict

from alphapulse.adapters.database import connection_info, libpq_url, migrate, revisions, sqlalchemy_url

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("scheme", ["postgresql", "postgres", "postgresql+psycopg"])
def test_an_address_may_be_written_for_any_tool(scheme: str) -> None:
    assert sqlalchemy_url(f"{scheme}://u@h/d?x=1") == "postgresql+psycopg://u@h/d?x=1"
    assert libpq_url(f"{scheme}://u@h/d?x=1") == "postgresql://u@h/d?x=1"


def test_another_database_is_refused_without_repeating_its_password() -> None:
    with pytest.raises(ValueError, match="mysql") as caught:
        libpq_url("mysql://user:secret@host/db")
    assert "secret" not in str(caught.value)


def test_options_and_limits_of_the_address_are_kept() -> None:
    info = conninfo_to_dict(
        connection_info("postgresql://u@h/d?options=-c%20jit%3Doff&connect_timeout=3&sslmode=verify-full")
    )
    assert info["options"].startswith("-c jit=off -c statement_timeout=30000")
    assert (info["connect_timeout"], info["sslmode"], info["tcp_user_timeout"]) == (
        "3",
        "verify-full",
        "20000",
    )


async def test_two_migrations_at_once_are_one(empty_database_url: str) -> None:
    """From two processes: within one, a lock of ours keeps them apart."""
    code = "import sys; from alphapulse.adapters.database import migrate; migrate(sys.argv[1])"
    processes = [
        await asyncio.create_subprocess_exec(sys.executable, "-c", code, empty_database_url, cwd=ROOT)
        for _ in range(3)
    ]
    assert [await p.wait() for p in processes] == [0, 0, 0]
    current, wanted = await asyncio.to_thread(revisions, empty_database_url)
    assert current == wanted is not None
    await asyncio.gather(*(asyncio.to_thread(migrate, empty_database_url) for _ in range(3)))


def test_a_database_says_that_it_was_never_migrated(empty_database_url: str) -> None:
    current, wanted = revisions(empty_database_url)
    assert current is None
    assert wanted is not None


def alembic(*arguments: str, url: str) -> "subprocess.CompletedProcess[str]":
    environment = {**os.environ, "ALPHAPULSE_DATABASE_URL": url}
    command = [sys.executable, "-m", "alembic", *arguments]
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)


def test_migrations_can_be_printed_and_run_by_hand(empty_database_url: str) -> None:
    printed = alembic("upgrade", "head", "--sql", url=empty_database_url)
    assert printed.returncode == 0, printed.stderr
    with psycopg.connect(empty_database_url, autocommit=True) as connection:
        connection.execute(printed.stdout)  # type: ignore[arg-type]
    current, wanted = revisions(empty_database_url)
    assert current == wanted


def test_the_tables_that_the_code_declares_are_the_ones_that_migrations_make(database_url: str) -> None:
    checked = alembic("check", url=database_url)
    assert checked.returncode == 0, checked.stdout + checked.stderr


def test_the_log_is_never_migrated_away(database_url: str) -> None:
    undone = alembic("downgrade", "base", url=database_url)
    assert undone.returncode != 0
    with psycopg.connect(database_url) as connection:
        assert connection.execute("SELECT count(*) FROM stored_events").fetchone() == (0,)
