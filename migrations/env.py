"""Run the migrations: all of them in one transaction, one migrator at a time.

The address comes from the caller (``config.attributes["url"]``) or from ALPHAPULSE_DATABASE_URL.
``alembic check`` compares the tables of every read model with what the migrations made.
"""

import os
from importlib import import_module
from pkgutil import iter_modules

from alembic import context
from sqlalchemy import MetaData, NullPool, create_engine, text

from alphapulse import projections
from alphapulse.adapters.database import MIGRATION_LOCK, sqlalchemy_url

# Written in SQL by migrations 0001 and 0008, with their functions; no read model declares them.
LOG_TABLES = {"stored_events", "notification_tracking", "leases"} | {
    "log_seals",
    "log_nodes",
    "log_signal_counts",
    "log_receipts",
    "log_sweep",
    "log_faults",
}


def _metadata() -> MetaData:
    """The tables of all read models: importing a module declares its tables."""
    for module in iter_modules(projections.__path__):
        import_module(f"{projections.__name__}.{module.name}")
    from alphapulse.projections.checkpoint import metadata

    return metadata


def _is_declared(name: str | None, kind: str, _parents: object) -> bool:
    return not (kind == "table" and name in LOG_TABLES)


def _url() -> str:
    url = context.config.attributes.get("url") or os.environ.get("ALPHAPULSE_DATABASE_URL")
    if not url:
        raise SystemExit("set ALPHAPULSE_DATABASE_URL, such as postgresql://user@host/database")
    return sqlalchemy_url(url)


def _offline() -> None:
    """Print the SQL instead of running it."""
    context.configure(url=_url(), literal_binds=True)
    with context.begin_transaction():
        context.run_migrations()


def _online() -> None:
    # Comparing needs every read model imported, which takes a second; migrating does not.
    is_comparing = getattr(context.config.cmd_opts, "cmd", (None,))[0] is not None
    metadata = _metadata() if is_comparing else None
    engine = create_engine(_url(), poolclass=NullPool)
    with engine.connect() as connection:
        # Held until the connection closes: a second migrator waits, then finds nothing left to do.
        connection.execute(text("SET lock_timeout = '5min'"))
        connection.execute(text("SELECT pg_advisory_lock(:key)"), {"key": MIGRATION_LOCK})
        connection.commit()
        context.configure(connection=connection, target_metadata=metadata, include_name=_is_declared)
        with context.begin_transaction():
            context.run_migrations()


if context.is_offline_mode():
    _offline()
else:
    _online()
