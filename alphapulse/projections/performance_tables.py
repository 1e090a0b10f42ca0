"""Tables of the read models ``performance`` and ``attribution``: one row a candidate.

A row of ``candidates`` is made by one event and completed by another, in either order; each half has the
position of its event, so a table cut at position N shows what was known at N. Times are ns by the venue's
clock, prices in quote currency.
"""

from sqlalchemy import (
    ARRAY,
    BigInteger,
    Boolean,
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


def _text(name: str, *, nullable: bool = False) -> Column[str]:
    return Column(name, Text(collation="C"), nullable=nullable)


# What was decided, and what became of it: DecisionMade, OutcomeRecorded.
candidates = Table(
    "candidates",
    metadata,
    _text("decision"),
    _text("strategy"),
    Column("strategy_version", Integer, nullable=False),
    _text("instrument"),
    Column("timeframe", SmallInteger, nullable=False),
    Column("side", SmallInteger, nullable=False),
    # as it was decided
    Column("position", BigInteger),
    Column("opened", BigInteger),
    Column("entry", Double),
    Column("confidence", Double),
    Column("size_ratio", Double),
    _text("regime", nullable=True),
    _text("label", nullable=True),
    # what became of it
    Column("outcome_position", BigInteger),
    Column("number", Integer),  # of the signal; 0: it was refused
    Column("closed", BigInteger),
    Column("is_win", SmallInteger),
    Column("worst_win", SmallInteger),
    Column("best_win", SmallInteger),
    Column("gross_bps", Double),
    Column("net_bps", Double),
    Column("net_r", Double),
    Column("worst_price", Double),
    Column("best_price", Double),
    _text("reason", nullable=True),
    PrimaryKeyConstraint("decision"),
    Index("candidates_by_time", "strategy", "opened"),
)

# Whose votes a candidate was made of, those that weigh anything: DecisionMade. One entry a vote.
vote_shares = Table(
    "vote_shares",
    metadata,
    _text("decision"),
    _text("strategy"),
    Column("position", BigInteger, nullable=False),
    Column("is_exact", Boolean, nullable=False),
    Column("voters", ARRAY(Text), nullable=False),
    Column("patterns", ARRAY(Text), nullable=False),  # that each saw; empty: it looks at none
    Column("shares", ARRAY(Double), nullable=False),
    Column("without", ARRAY(Double), nullable=False),
    PrimaryKeyConstraint("decision"),
)
