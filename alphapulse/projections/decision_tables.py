"""Tables of the read models ``decisions`` and ``signals``.

Every row holds the position of the event that made it, and what happened to it later stands in columns with
positions of their own: a table cut at position N shows what was known at N. ``detail`` is the event as JSON.
Times are ns by the venue's clock; prices are in quote currency.
"""

from sqlalchemy import (
    ARRAY,
    BigInteger,
    Column,
    Double,
    Index,
    Integer,
    PrimaryKeyConstraint,
    SmallInteger,
    Table,
    Text,
)

from alphapulse.projections.checkpoint import metadata


def _text(name: str, *, primary_key: bool = False) -> Column[str]:
    return Column(name, Text(collation="C"), nullable=False, primary_key=primary_key)


# A candidate, issued or refused: DecisionMade.
decisions = Table(
    "decisions",
    metadata,
    _text("decision", primary_key=True),
    _text("strategy"),
    Column("strategy_version", Integer, nullable=False),
    _text("instrument"),
    Column("timeframe", SmallInteger, nullable=False),
    Column("time", BigInteger, nullable=False),
    Column("side", SmallInteger, nullable=False),
    Column("consensus", Double, nullable=False),
    Column("confidence", Double),
    Column("margin", Double),
    _text("regime"),
    _text("verdict"),
    Column("refusals", ARRAY(Text), nullable=False),
    _text("label"),
    Column("position", BigInteger, nullable=False),
    Column("detail", Text, nullable=False),
    Index("decisions_by_position", "strategy", "position"),
    Index("decisions_by_market", "instrument", "position"),
)

# What became of a candidate: OutcomeRecorded.
outcomes = Table(
    "outcomes",
    metadata,
    _text("decision", primary_key=True),
    _text("strategy"),
    Column("strategy_version", Integer, nullable=False),
    _text("instrument"),
    Column("timeframe", SmallInteger, nullable=False),
    Column("side", SmallInteger, nullable=False),
    Column("number", Integer, nullable=False),  # of the signal; 0: it was refused
    Column("confidence", Double),
    _text("reason"),
    Column("is_win", SmallInteger, nullable=False),
    Column("closed_at", BigInteger, nullable=False),
    Column("net_bps", Double, nullable=False),
    Column("r_multiple", Double, nullable=False),
    Column("position", BigInteger, nullable=False),
    Column("detail", Text, nullable=False),
    Index("outcomes_by_position", "strategy", "position"),
)

# With which parameters a market is decided: ParametersAdapted.
adaptations = Table(
    "adaptations",
    metadata,
    _text("strategy"),
    Column("strategy_version", Integer, nullable=False),
    _text("instrument"),
    Column("timeframe", SmallInteger, nullable=False),
    Column("position", BigInteger, nullable=False),
    Column("time", BigInteger, nullable=False),
    _text("before_name"),
    _text("after_name"),
    Column("detail", Text, nullable=False),
    PrimaryKeyConstraint("strategy", "strategy_version", "instrument", "timeframe", "position"),
)

# How claims were calibrated: CalibrationFitted.
calibrations = Table(
    "calibrations",
    metadata,
    _text("strategy"),
    Column("strategy_version", Integer, nullable=False),
    Column("part", SmallInteger, nullable=False),
    Column("number", Integer, nullable=False),
    _text("method"),
    Column("candidates", Integer, nullable=False),
    Column("position", BigInteger, nullable=False),
    Column("detail", Text, nullable=False),
    PrimaryKeyConstraint("strategy", "strategy_version", "part", "number"),
)

# Versions of strategies: StrategyDefined, StrategyRetired.
strategies = Table(
    "strategies",
    metadata,
    _text("name"),
    Column("version", Integer, nullable=False),
    _text("label"),
    _text("digest"),
    Column("position", BigInteger, nullable=False),
    Column("retired_position", BigInteger),
    Column("detail", Text, nullable=False),
    PrimaryKeyConstraint("name", "version"),
)

# Signals and what became of them: SignalIssued, ExitRecommended, SignalClosed.
signals = Table(
    "signals",
    metadata,
    _text("strategy"),
    Column("number", Integer, nullable=False),
    Column("strategy_version", Integer, nullable=False),
    _text("decision"),
    _text("instrument"),
    Column("timeframe", SmallInteger, nullable=False),
    Column("side", SmallInteger, nullable=False),
    Column("time", BigInteger, nullable=False),
    Column("entry", Double, nullable=False),
    Column("stop", Double, nullable=False),
    Column("targets", ARRAY(Double), nullable=False),
    Column("confidence", Double, nullable=False),
    Column("horizon_end", BigInteger, nullable=False),
    Column("size_ratio", Double, nullable=False),
    _text("label"),
    Column("position", BigInteger, nullable=False),
    Column("exit_position", BigInteger),  # of the first recommendation to leave
    Column("exit_time", BigInteger),
    Column("exit_price", Double),
    Column("closed_position", BigInteger),
    Column("closed_at", BigInteger),
    Column("close_reason", Text),
    Column("close_price", Double),
    Column("net_bps", Double),
    Column("r_multiple", Double),
    Column("equity", Double),
    Column("detail", Text, nullable=False),
    PrimaryKeyConstraint("strategy", "number"),
    Index("signals_by_market", "instrument", "position"),
    Index("signals_by_decision", "decision"),
)
