"""The schema that migrations make is the one that the read models declare, before and after a swap."""

import importlib
import pkgutil
from typing import Any

import psycopg
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import create_engine

import alphapulse.projections
from alphapulse.adapters.database import connection_info, sqlalchemy_url
from alphapulse.processes.project import READ_MODELS
from alphapulse.processes.rebuilding import open_rebuilder
from alphapulse.projections.checkpoint import metadata

# The log's own: no read models, made by SQL that metadata cannot say.
OF_THE_LOG = {
    *("stored_events", "notification_tracking", "leases", "alembic_version"),
    *("log_seals", "log_nodes", "log_signal_counts", "log_receipts", "log_sweep", "log_faults"),
}


def differences_from_metadata(url: str) -> list[Any]:
    for module in pkgutil.iter_modules(alphapulse.projections.__path__, "alphapulse.projections."):
        importlib.import_module(module.name)

    def is_ours(thing: Any, name: str | None, kind: str, _reflected: bool, _other: Any) -> bool:
        table = name if kind == "table" else thing.table.name
        return table not in OF_THE_LOG

    engine = create_engine(sqlalchemy_url(url))
    with engine.connect() as connection:
        options = {"include_object": is_ours, "compare_server_default": True}
        found = compare_metadata(MigrationContext.configure(connection, opts=options), metadata)
    engine.dispose()
    return list(found)


def structure(url: str) -> list[tuple[Any, ...]]:
    """Every column, constraint and index of the tables in ``public``."""
    with psycopg.connect(connection_info(url, role=None)) as db:
        return db.execute(
            "SELECT table_name, column_name, ordinal_position::text, data_type, is_nullable, column_default, "
            "collation_name FROM information_schema.columns WHERE table_schema = 'public' "
            "UNION ALL SELECT conrelid::regclass::text, conname, '', pg_get_constraintdef(oid), '', '', '' "
            "FROM pg_constraint WHERE connamespace = 'public'::regnamespace "
            "UNION ALL SELECT tablename, indexname, '', indexdef, '', '', '' "
            "FROM pg_indexes WHERE schemaname = 'public' ORDER BY 1, 2, 3, 4"
        ).fetchall()


def test_migrations_make_what_the_read_models_declare(database_url: str) -> None:
    """Autogenerate finds nothing to do."""
    assert differences_from_metadata(database_url) == []


async def test_a_swap_leaves_tables_of_the_same_structure(database_url: str) -> None:
    """Shadows come from metadata, the first tables from migrations: nobody can tell them apart."""
    before = structure(database_url)
    for model in READ_MODELS.values():
        async with open_rebuilder(database_url, model) as rebuilder:
            await rebuilder.rebuild()
    assert structure(database_url) == before
    assert differences_from_metadata(database_url) == []
