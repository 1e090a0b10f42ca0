"""Where each stored batch of trades or venue bars lies. Source: TradesObserved, BarsObserved.

Part of the candle read model, so that one snapshot shows both at the same position. Serves the
``trades`` query and the recomputation of bars as of an earlier position.
"""

from sqlalchemy import BigInteger, Column, Index, Integer, PrimaryKeyConstraint, SmallInteger, Table, Text

from alphapulse.projections.checkpoint import metadata

trade_blocks = Table(
    "trade_blocks",
    metadata,
    Column("instrument", Text(collation="C"), nullable=False),
    Column("position", BigInteger, nullable=False),
    Column("version", BigInteger, nullable=False),
    Column("source", SmallInteger, nullable=False),  # 0: trades; else the timeframe of venue bars, minutes
    Column("rows", Integer, nullable=False),
    Column("time_lo", BigInteger, nullable=False),  # ns, venue clock: first trade, or open of the first bar
    Column("time_hi", BigInteger, nullable=False),  # last trade, or end of the last bar
    Column("id_lo", BigInteger, nullable=False),  # venue ids; 0 for bars
    Column("id_hi", BigInteger, nullable=False),
    Column("high_water", BigInteger, nullable=False),  # ns, before this batch; 0 when none
    Column("price_exponent", SmallInteger, nullable=False),
    Column("size_exponent", SmallInteger, nullable=False),
    PrimaryKeyConstraint("instrument", "position"),
    Index("trade_blocks_time", "instrument", "source", "time_lo"),
    Index("trade_blocks_id", "instrument", "source", "id_lo"),
)
