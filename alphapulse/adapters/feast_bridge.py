"""Our features as Feast sees them: entities and a feature view from a manifest, stores on what we have.

The offline store is our Parquet export, the online store PostgreSQL, fed from the live read model. Our store
stays the authority: Feast holds nothing that could not be written again. What Feast calls the event timestamp
is the time at which a row was *known*, so that its point-in-time join is ours; see docs/feast.md.

Needs the extra ``[feast]``, in an environment of its own: Feast wants pandas before 3.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from psycopg.conninfo import conninfo_to_dict

from alphapulse.adapters.database import libpq_url
from alphapulse.adapters.files.parquet_features import feature_names, read_features, write_features
from alphapulse.domain.analysis.feature_rows import FeatureRows
from alphapulse.domain.analysis.row_bytes import joined, series_of, taken

INSTRUMENT, TIMEFRAME = "instrument", "timeframe"  # join keys: venue:symbol, and minutes
SCHEMA = "feast"  # of the database, where the online store keeps its tables
MAX_ROWS = 10_000  # pushed at once


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """The latest vector of one series."""

    instrument: str
    timeframe: int  # minutes
    known_time: int  # ns
    values: Sequence[float]


def view_name(set_name: str, set_version: int) -> str:
    """Feast keeps names apart by letters, digits and underscores: ``momentum_v3``."""
    return "".join(c if c.isalnum() else "_" for c in set_name) + f"_v{set_version}"


def entities() -> list[Any]:
    """What a row is about."""
    from feast import Entity, ValueType

    return [
        Entity(name=INSTRUMENT, join_keys=[INSTRUMENT], value_type=ValueType.STRING),
        Entity(name=TIMEFRAME, join_keys=[TIMEFRAME], value_type=ValueType.INT32),
    ]


def feature_view(
    set_name: str, set_version: int, features: Sequence[str], digest: str, parquet: Path, keys: Sequence[Any]
) -> Any:
    """The view of one version of a set over its export. ``keys``: of ``entities``.

    ``parquet`` is what ``offline_file`` wrote.
    """
    from datetime import timedelta

    from feast import FeatureView, Field, FileSource
    from feast.types import Float64, Int32, String

    name = view_name(set_name, set_version)
    source = FileSource(
        name=f"{name}_export",
        path=str(parquet),
        timestamp_field="known_time",
    )
    schema = [Field(name=INSTRUMENT, dtype=String), Field(name=TIMEFRAME, dtype=Int32)]
    return FeatureView(
        name=name,
        entities=list(keys),
        ttl=timedelta(0),  # a row is the latest until there is a later one
        schema=[*schema, *(Field(name=feature, dtype=Float64) for feature in features)],
        source=source,
        tags={"alphapulse.set": f"{set_name}@{set_version}", "alphapulse.digest": digest},
    )


def offline_file(export: Path, path: Path) -> int:
    """Write to ``path`` what Feast needs of an export; returns how many rows.

    Several bars may become known at one moment; of those only the last can answer a point-in-time join.
    Feast's file store would take any of them (its second sort is not stable), so the others are left out.
    """
    return write_features(path, feature_names(export), _last_of_each_moment(read_features(export)))


def _last_of_each_moment(pieces: Iterable[FeatureRows]) -> Iterator[FeatureRows]:
    held: FeatureRows | None = None  # the last row of the piece before
    for piece in pieces:
        if held is not None and series_of(held) != series_of(piece):
            yield held
            held = None
        rows = piece if held is None else joined([held, piece])
        yield taken(rows, np.flatnonzero(np.diff(rows.known_time)))
        held = taken(rows, slice(len(rows) - 1, None))
    if held is not None:
        yield held


def repo_config(folder: Path, database_url: str, *, project: str = "alphapulse") -> Any:
    """Registry in a file of ``folder``, offline from files, online in PostgreSQL at ``database_url``."""
    from feast import RepoConfig

    return RepoConfig(
        project=project,
        provider="local",
        registry=str(folder / "registry.db"),
        offline_store={"type": "file"},
        online_store=online_store(database_url),
        entity_key_serialization_version=3,
    )


def online_store(database_url: str) -> Mapping[str, Any]:
    """Feast's settings of its PostgreSQL online store, for our address."""
    given = conninfo_to_dict(libpq_url(database_url))
    return {
        "type": "postgres",
        "host": given.get("host", "localhost"),
        "port": int(given.get("port") or 5432),
        "database": given.get("dbname", "postgres"),
        "db_schema": SCHEMA,
        "user": given.get("user", "postgres"),
        "password": given.get("password", ""),
        "sslmode": given.get("sslmode", "prefer"),
    }


def push(store: Any, view: str, features: Sequence[str], rows: Sequence[Row]) -> None:
    """Make ``rows`` the latest of their series in the online store. Repeating it changes nothing.

    Raises:
        ValueError: more than MAX_ROWS.
    """
    import pandas as pd

    if len(rows) > MAX_ROWS:
        raise ValueError(f"{len(rows)} rows at once: at most {MAX_ROWS}")
    if not rows:
        return
    frame = pd.DataFrame([row.values for row in rows], columns=list(features), dtype="float64")
    frame[INSTRUMENT] = [row.instrument for row in rows]
    frame[TIMEFRAME] = pd.array([row.timeframe for row in rows], dtype="int32")
    frame["known_time"] = pd.to_datetime([row.known_time for row in rows], unit="ns", utc=True)
    store.write_to_online_store(view, df=frame)
