"""Where each stored batch of trades lies. Source: TradesObserved (and WatermarkPassed for high water).

Serves the ``trades`` query and the recomputation of bars as of an earlier position.
"""

from sqlalchemy import BigInteger, Column, Index, Integer, PrimaryKeyConstraint, Table, Text

from alphapulse.projections.checkpoint import metadata

trade_blocks = Table(
    "trade_blocks",
    metadata,
    Column("instrument", Text, nullable=False),
    Column("position", BigInteger, nullable=False),
    Column("version", BigInteger, nullable=False),
    Column("rows", Integer, nullable=False),
    Column("time_lo", BigInteger, nullable=False),  # ns, venue clock
    Column("time_hi", BigInteger, nullable=False),
    Column("id_lo", BigInteger, nullable=False),
    Column("id_hi", BigInteger, nullable=False),
    Column("high_water", BigInteger, nullable=False),  # ns, before this batch; 0 when none
    PrimaryKeyConstraint("instrument", "position"),
    Index("trade_blocks_time", "instrument", "time_hi", "time_lo"),
    Index("trade_blocks_id", "instrument", "id_hi", "id_lo"),
)
