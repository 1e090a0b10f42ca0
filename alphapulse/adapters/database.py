"""Addresses of the database, the limits every connection works under, and the schema's migrations."""

import threading
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from psycopg.conninfo import conninfo_to_dict, make_conninfo

import alphapulse

if TYPE_CHECKING:  # Alembic and SQLAlchemy take half a second, and most processes never migrate
    from alembic.config import Config

APP_ROLE = "alphapulse_app"  # may read the log and call its functions, nothing else
MIGRATION_LOCK = 0x414C5048_4D494752  # advisory lock keys: "ALPH" "MIGR"

_SCHEMES = ("postgresql+psycopg://", "postgresql://", "postgres://")
_one_migration = threading.Lock()  # Alembic keeps its context in module globals


def sqlalchemy_url(url: str) -> str:
    """``url`` as SQLAlchemy wants it: postgresql+psycopg://…

    Raises:
        ValueError: ``url`` is not a PostgreSQL address.
    """
    return "postgresql+psycopg://" + _after_scheme(url)


def libpq_url(url: str) -> str:
    """``url`` as psycopg and psql want it: postgresql://…

    Raises:
        ValueError: ``url`` is not a PostgreSQL address.
    """
    return "postgresql://" + _after_scheme(url)


def _after_scheme(url: str) -> str:
    for scheme in _SCHEMES:
        if url.startswith(scheme):
            return url.removeprefix(scheme)
    raise ValueError(f"a database address begins with postgresql://, this one with {url.partition(':')[0]!r}")


def connection_info(
    url: str,
    *,
    role: str | None = APP_ROLE,
    statement_timeout_s: float = 30.0,
    lock_timeout_s: float = 10.0,
    settings: Mapping[str, str] | None = None,
) -> str:
    """How psycopg is to connect: as ``role``, under ``settings`` and limits, all of which are off by default.

    A peer that vanishes is noticed after about 20 s also when we wait for it in silence.
    """
    given = conninfo_to_dict(libpq_url(url))
    ours = {
        "statement_timeout": round(statement_timeout_s * 1000),
        "lock_timeout": round(lock_timeout_s * 1000),
        "idle_in_transaction_session_timeout": 60_000,
        "timezone": "UTC",
        **({"role": role} if role else {}),
        **(settings or {}),
    }
    options = " ".join(f"-c {name}={value}" for name, value in ours.items())
    limits: dict[str, Any] = {
        "connect_timeout": 10,
        "tcp_user_timeout": 20_000,
        "keepalives_idle": 10,
        "keepalives_interval": 5,
        "keepalives_count": 2,
        "application_name": "alphapulse",
    }
    limits |= given
    return make_conninfo(**{**limits, "options": f"{given.get('options') or ''} {options}".strip()})


def migrate(database_url: str) -> None:
    """Bring the schema to the newest revision. Safe to run twice, also at the same time."""
    from alembic import command

    with _one_migration:
        command.upgrade(_config(database_url), "head")


def revisions(database_url: str) -> tuple[str | None, str | None]:
    """The revision the database is at (None: never migrated), and the one this code wants."""
    from alembic.runtime.migration import MigrationContext
    from alembic.script import ScriptDirectory
    from sqlalchemy import NullPool, create_engine

    wanted = ScriptDirectory.from_config(_config(database_url)).get_current_head()
    with create_engine(sqlalchemy_url(database_url), poolclass=NullPool).connect() as connection:
        return MigrationContext.configure(connection).get_current_revision(), wanted


def _config(database_url: str) -> "Config":
    from alembic.config import Config

    config = Config(attributes={"url": database_url})
    config.set_main_option("script_location", str(_migrations()).replace("%", "%%"))
    config.set_main_option("path_separator", "os")
    return config


def _migrations() -> Path:
    """The migration scripts: inside the package in a wheel (see setup.py), beside it in a checkout."""
    package = Path(alphapulse.__file__).parent
    bundled = package / "_migrations"
    return bundled if bundled.is_dir() else package.parent / "migrations"
