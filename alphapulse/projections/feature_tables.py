"""Tables of the feature read model. Source: what candles fold, and SetDefined, SetRetired.

``known_bars`` and ``features`` only ever grow: a bar stands as it was when it ended, a row of features
as it could be known then. So a log cut at position N has exactly the rows with ``position <= N``. Starts
are minutes since 1970 UTC, times nanoseconds by the venue's clock. What a venue did not say is NaN.
"""

from sqlalchemy import (
    ARRAY,
    BigInteger,
    Column,
    Double,
    Integer,
    LargeBinary,
    PrimaryKeyConstraint,
    SmallInteger,
    Table,
    Text,
)

from alphapulse.projections.checkpoint import metadata

# A bar of an instrument, as an analysis sees it: see domain/analysis/bars.py.
known_bars = Table(
    "known_bars",
    metadata,
    Column("instrument", Text(collation="C"), nullable=False),  # venue:symbol
    Column("timeframe", SmallInteger, nullable=False),  # minutes
    Column("start", BigInteger, nullable=False),  # open time
    Column("open", Double, nullable=False),
    Column("high", Double, nullable=False),
    Column("low", Double, nullable=False),
    Column("close", Double, nullable=False),
    Column("volume", Double, nullable=False),  # base units
    Column("taker_buy", Double, nullable=False),
    Column("trades", Double, nullable=False),
    Column(
        "known_time", BigInteger, nullable=False
    ),  # the venue's clock when the bar was known to have ended
    Column("position", BigInteger, nullable=False),  # of the event that ended it
    Column("first_position", BigInteger, nullable=False),  # of the first event with a trade (or bar) in it
    Column("input_position", BigInteger, nullable=False),  # of the last one
    Column("flags", SmallInteger, nullable=False),
    PrimaryKeyConstraint("instrument", "timeframe", "start"),
)

# What the making of bars carries along: one row an instrument.
feature_markets = Table(
    "feature_markets",
    metadata,
    Column("instrument", Text(collation="C"), primary_key=True),
    Column("high_water", BigInteger, nullable=False),  # ns; 0: nowhere
    Column("late", BigInteger, nullable=False),  # trades and venue bars that came after their bar had ended
    Column("state", Text, nullable=False),  # open bars, last starts and what was watched, as JSON
    Column("position", BigInteger, nullable=False),
)

# Versions of feature sets, as they were defined.
feature_sets = Table(
    "feature_sets",
    metadata,
    Column("name", Text(collation="C"), nullable=False),
    Column("version", Integer, nullable=False),
    Column("digest", Text, nullable=False),
    Column("definition", Text, nullable=False),  # JSON
    Column("problem", Text),  # why this code can not make its rows
    Column("position", BigInteger, nullable=False),  # of its definition
    Column("retired_position", BigInteger),
    PrimaryKeyConstraint("name", "version"),
)

# What the making of features carries along, written down every now and then: one row for each set version,
# instrument and timeframe.
feature_slots = Table(
    "feature_slots",
    metadata,
    Column("set_name", Text(collation="C"), nullable=False),
    Column("set_version", Integer, nullable=False),
    Column("instrument", Text(collation="C"), nullable=False),
    Column("timeframe", SmallInteger, nullable=False),
    Column("carried", LargeBinary, nullable=False),
    Column("start", BigInteger, nullable=False),  # of the last bar in it; the bars since make the rest anew
    Column("position", BigInteger, nullable=False),  # of that bar
    PrimaryKeyConstraint("set_name", "set_version", "instrument", "timeframe"),
)

# One row for each bar of the timeframes of a set: its values in the set's order.
features = Table(
    "features",
    metadata,
    Column("set_name", Text(collation="C"), nullable=False),
    Column("set_version", Integer, nullable=False),
    Column("instrument", Text(collation="C"), nullable=False),
    Column("timeframe", SmallInteger, nullable=False),
    Column("start", BigInteger, nullable=False),
    Column("vals", ARRAY(Double), nullable=False),
    Column("known_time", BigInteger, nullable=False),
    Column("position", BigInteger, nullable=False),  # of the event that ended its bar
    Column("first_position", BigInteger, nullable=False),  # of the first event with anything in its windows
    Column("input_position", BigInteger, nullable=False),  # of the last one
    Column("flags", Integer, nullable=False),
    PrimaryKeyConstraint("set_name", "set_version", "instrument", "timeframe", "start"),
)
