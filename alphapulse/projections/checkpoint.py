"""How far each read model has come, and the events it could not fold.

Every generation of a read model has one row in ``projections``. The live one's tables stand in the
schema ``public``; a shadow or retired generation's in a schema of their own, under the same names.
SQL in this package therefore never qualifies a table: the connection's search_path decides.
"""

from sqlalchemy import (
    BigInteger,
    Column,
    DateTime,
    Identity,
    Index,
    Integer,
    MetaData,
    SmallInteger,
    Table,
    Text,
    Uuid,
    func,
    text,
)

metadata = MetaData()

projections = Table(
    "projections",
    metadata,
    Column("name", Text, primary_key=True),
    Column("generation", Integer, primary_key=True),
    Column("code_version", Integer, nullable=False),
    Column("state", Text, nullable=False),  # live, shadow, retired, scratch
    Column("schema", Text, nullable=False),
    Column("position", BigInteger, nullable=False, server_default="0"),
    Column("epoch", BigInteger, nullable=False, server_default="0"),
    Column("updated_at", DateTime(timezone=True), nullable=False, server_default=func.now()),
    Index("projections_one_live", "name", unique=True, postgresql_where=text("state = 'live'")),
)

parked = Table(
    "parked",
    metadata,
    Column("id", BigInteger, Identity(), primary_key=True),
    Column("projection", Text, nullable=False),
    Column("generation", Integer, nullable=False),
    Column("position", BigInteger, nullable=False),
    Column("stream", Text, nullable=False),
    Column("version", BigInteger, nullable=False),
    Column("name", Text, nullable=False),
    Column("event_id", Uuid, nullable=False),
    Column("reason", Text, nullable=False),
    Column("tries", SmallInteger, nullable=False),
    Column("parked_at", DateTime(timezone=True), nullable=False, server_default=func.clock_timestamp()),
    Index("parked_once", "projection", "generation", "position", unique=True),
)

# Only while a generation is built by several processes: each folds the streams of one part.
projection_parts = Table(
    "projection_parts",
    metadata,
    Column("name", Text, primary_key=True),
    Column("generation", Integer, primary_key=True),
    Column("part", SmallInteger, primary_key=True),
    Column("parts", SmallInteger, nullable=False),
    Column("position", BigInteger, nullable=False),
    Column("epoch", BigInteger, nullable=False, server_default="0"),
)
