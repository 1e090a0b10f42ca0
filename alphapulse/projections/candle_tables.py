"""Tables of the candle read model. Source: TradesObserved, BarsObserved, Feed*, GapClosed, WatermarkPassed.

``candles`` holds one row per bar in which something was traded or that a venue supplied; nothing is
ever padded. Rows are sums and extremes of exact numbers, so any order and chunking of the same
trades gives the same row and an upsert needs no prior read. ``source`` is 0 for bars built from
trades, else the timeframe in minutes of the venue bars from which the row was rolled up.
Quiet and dead minutes have no row: ``market_evidence`` says which minutes were watched.
"""

from sqlalchemy import (
    BigInteger,
    Column,
    DateTime,
    Integer,
    Numeric,
    PrimaryKeyConstraint,
    SmallInteger,
    Table,
    Text,
)

from alphapulse.projections.checkpoint import metadata

candles = Table(
    "candles",
    metadata,
    Column("instrument", Text(collation="C"), nullable=False),  # venue:symbol
    Column("timeframe", SmallInteger, nullable=False),  # minutes
    Column("source", SmallInteger, nullable=False),
    Column("start", DateTime(timezone=True), nullable=False),  # open time, UTC
    Column("open", Numeric, nullable=False),
    Column("high", Numeric, nullable=False),
    Column("low", Numeric, nullable=False),
    Column("close", Numeric, nullable=False),
    Column("base_volume", Numeric),  # None where a venue gave another unit
    Column("quote_volume", Numeric),
    Column("taker_buy_volume", Numeric),  # base units
    Column("trade_count", BigInteger),
    Column("open_time", BigInteger, nullable=False),  # ns; (open_time, open_id) orders the first trade
    Column("open_id", BigInteger, nullable=False),
    Column("close_time", BigInteger, nullable=False),
    Column("close_id", BigInteger, nullable=False),
    Column("minutes", Integer, nullable=False),  # how many 1m bars inside were traded (or supplied)
    Column("revision", Integer, nullable=False),  # how often events changed the bar after it had ended
    Column("flags", SmallInteger, nullable=False),  # columns.RECEIVE_TIME | BACK_FILLED of any trade
    Column("position", BigInteger, nullable=False),  # the last event that touched the bar
    # Ranges and the last n of one timeframe are walks along this index, whatever the sources.
    PrimaryKeyConstraint("instrument", "timeframe", "start", "source"),
)

# One row per fact about what was watched; intervals in ns, end exclusive; None = still open.
market_evidence = Table(
    "market_evidence",
    metadata,
    Column("instrument", Text(collation="C"), nullable=False),
    Column("position", BigInteger, nullable=False),  # of the event that says so
    Column("kind", Text, nullable=False),  # connected, lost, back_filled, abandoned, watermark
    Column("start", BigInteger, nullable=False),
    Column("end", BigInteger),
    Column("high_water", BigInteger, nullable=False),  # ns, before this event; 0 when none
    PrimaryKeyConstraint("instrument", "position"),
)

instruments = Table(
    "instruments",
    metadata,
    Column("instrument", Text(collation="C"), primary_key=True),
    Column("venue", Text, nullable=False),
    Column("symbol", Text, nullable=False),
    Column("price_exponent", SmallInteger, nullable=False),
    Column("size_exponent", SmallInteger, nullable=False),
    Column("trade_count", BigInteger, nullable=False),
    Column("first_time", BigInteger),  # ns, venue clock
    Column("last_time", BigInteger),
    Column("high_water", BigInteger),  # ns: bars that end by then have ended
    Column("max_time_span", BigInteger, nullable=False),  # ns, of the longest batch of trades
    Column("max_id_span", BigInteger, nullable=False),  # of the widest batch of trades
    Column("sources", Text, nullable=False),  # comma separated: 0 and supplied timeframes in minutes
    Column("position", BigInteger, nullable=False),
)
