"""Run the migrations: all of them in one transaction, one migrator at a time.

The address comes from the caller (``config.attributes["url"]``) or from ALPHAPULSE_DATABASE_URL.
"""

import os

from alembic import context
from sqlalchemy import NullPool, create_engine, text

from alphapulse.adapters.database import MIGRATION_LOCK, sqlalchemy_url
from alphapulse.projections.checkpoint import metadata


def _url() -> str:
    url = context.config.attributes.get("url") or os.environ.get("ALPHAPULSE_DATABASE_URL")
    if not url:
        raise SystemExit("set ALPHAPULSE_DATABASE_URL, such as postgresql://user@host/database")
    return sqlalchemy_url(url)


def _offline() -> None:
    """Print the SQL instead of running it."""
    context.configure(url=_url(), target_metadata=metadata, literal_binds=True)
    with context.begin_transaction():
        context.run_migrations()


def _online() -> None:
    engine = create_engine(_url(), poolclass=NullPool)
    with engine.connect() as connection:
        # Held until the connection closes: a second migrator waits, then finds nothing left to do.
        connection.execute(text("SET lock_timeout = '5min'"))
        connection.execute(text("SELECT pg_advisory_lock(:key)"), {"key": MIGRATION_LOCK})
        connection.commit()
        context.configure(connection=connection, target_metadata=metadata)
        with context.begin_transaction():
            context.run_migrations()


if context.is_offline_mode():
    _offline()
else:
    _online()
