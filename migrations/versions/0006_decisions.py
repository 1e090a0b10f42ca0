"""Decisions, signals, their outcomes, calibrations and strategies; what deciders carry along.

Revision ID: 0006
Revises: 0005
"""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

TABLES = (
    "decisions",
    "outcomes",
    "adaptations",
    "calibrations",
    "strategies",
    "signals",
    "decider_states",
)


def upgrade() -> None:
    op.create_table(
        "decisions",
        sa.Column("decision", sa.Text(collation="C"), nullable=False),
        sa.Column("strategy", sa.Text(collation="C"), nullable=False),
        sa.Column("strategy_version", sa.Integer(), nullable=False),
        sa.Column("instrument", sa.Text(collation="C"), nullable=False),
        sa.Column("timeframe", sa.SmallInteger(), nullable=False),
        sa.Column("time", sa.BigInteger(), nullable=False),
        sa.Column("side", sa.SmallInteger(), nullable=False),
        sa.Column("consensus", sa.Double(), nullable=False),
        sa.Column("confidence", sa.Double(), nullable=True),
        sa.Column("margin", sa.Double(), nullable=True),
        sa.Column("regime", sa.Text(collation="C"), nullable=False),
        sa.Column("verdict", sa.Text(collation="C"), nullable=False),
        sa.Column("refusals", sa.ARRAY(sa.Text()), nullable=False),
        sa.Column("label", sa.Text(collation="C"), nullable=False),
        sa.Column("position", sa.BigInteger(), nullable=False),
        sa.Column("detail", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("decision"),
    )
    op.create_index("decisions_by_market", "decisions", ["instrument", "position"], unique=False)
    op.create_index("decisions_by_position", "decisions", ["strategy", "position"], unique=False)
    op.create_table(
        "outcomes",
        sa.Column("decision", sa.Text(collation="C"), nullable=False),
        sa.Column("strategy", sa.Text(collation="C"), nullable=False),
        sa.Column("strategy_version", sa.Integer(), nullable=False),
        sa.Column("instrument", sa.Text(collation="C"), nullable=False),
        sa.Column("timeframe", sa.SmallInteger(), nullable=False),
        sa.Column("side", sa.SmallInteger(), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("confidence", sa.Double(), nullable=True),
        sa.Column("reason", sa.Text(collation="C"), nullable=False),
        sa.Column("is_win", sa.SmallInteger(), nullable=False),
        sa.Column("closed_at", sa.BigInteger(), nullable=False),
        sa.Column("net_bps", sa.Double(), nullable=False),
        sa.Column("r_multiple", sa.Double(), nullable=False),
        sa.Column("position", sa.BigInteger(), nullable=False),
        sa.Column("detail", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("decision"),
    )
    op.create_index("outcomes_by_position", "outcomes", ["strategy", "position"], unique=False)
    op.create_table(
        "adaptations",
        sa.Column("strategy", sa.Text(collation="C"), nullable=False),
        sa.Column("strategy_version", sa.Integer(), nullable=False),
        sa.Column("instrument", sa.Text(collation="C"), nullable=False),
        sa.Column("timeframe", sa.SmallInteger(), nullable=False),
        sa.Column("position", sa.BigInteger(), nullable=False),
        sa.Column("time", sa.BigInteger(), nullable=False),
        sa.Column("before_name", sa.Text(collation="C"), nullable=False),
        sa.Column("after_name", sa.Text(collation="C"), nullable=False),
        sa.Column("detail", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("strategy", "strategy_version", "instrument", "timeframe", "position"),
    )
    op.create_table(
        "calibrations",
        sa.Column("strategy", sa.Text(collation="C"), nullable=False),
        sa.Column("strategy_version", sa.Integer(), nullable=False),
        sa.Column("part", sa.SmallInteger(), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("method", sa.Text(collation="C"), nullable=False),
        sa.Column("candidates", sa.Integer(), nullable=False),
        sa.Column("position", sa.BigInteger(), nullable=False),
        sa.Column("detail", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("strategy", "strategy_version", "part", "number"),
    )
    op.create_table(
        "strategies",
        sa.Column("name", sa.Text(collation="C"), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("label", sa.Text(collation="C"), nullable=False),
        sa.Column("digest", sa.Text(collation="C"), nullable=False),
        sa.Column("position", sa.BigInteger(), nullable=False),
        sa.Column("retired_position", sa.BigInteger(), nullable=True),
        sa.Column("detail", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("name", "version"),
    )
    op.create_table(
        "signals",
        sa.Column("strategy", sa.Text(collation="C"), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("strategy_version", sa.Integer(), nullable=False),
        sa.Column("decision", sa.Text(collation="C"), nullable=False),
        sa.Column("instrument", sa.Text(collation="C"), nullable=False),
        sa.Column("timeframe", sa.SmallInteger(), nullable=False),
        sa.Column("side", sa.SmallInteger(), nullable=False),
        sa.Column("time", sa.BigInteger(), nullable=False),
        sa.Column("entry", sa.Double(), nullable=False),
        sa.Column("stop", sa.Double(), nullable=False),
        sa.Column("targets", sa.ARRAY(sa.Double()), nullable=False),
        sa.Column("confidence", sa.Double(), nullable=False),
        sa.Column("horizon_end", sa.BigInteger(), nullable=False),
        sa.Column("size_ratio", sa.Double(), nullable=False),
        sa.Column("label", sa.Text(collation="C"), nullable=False),
        sa.Column("position", sa.BigInteger(), nullable=False),
        sa.Column("exit_position", sa.BigInteger(), nullable=True),
        sa.Column("exit_time", sa.BigInteger(), nullable=True),
        sa.Column("exit_price", sa.Double(), nullable=True),
        sa.Column("closed_position", sa.BigInteger(), nullable=True),
        sa.Column("closed_at", sa.BigInteger(), nullable=True),
        sa.Column("close_reason", sa.Text(), nullable=True),
        sa.Column("close_price", sa.Double(), nullable=True),
        sa.Column("net_bps", sa.Double(), nullable=True),
        sa.Column("r_multiple", sa.Double(), nullable=True),
        sa.Column("equity", sa.Double(), nullable=True),
        sa.Column("detail", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("strategy", "number"),
    )
    op.create_index("signals_by_decision", "signals", ["decision"], unique=False)
    op.create_index("signals_by_market", "signals", ["instrument", "position"], unique=False)
    op.create_table(
        "decider_states",
        sa.Column("strategy", sa.Text(collation="C"), nullable=False),
        sa.Column("strategy_version", sa.Integer(), nullable=False),
        sa.Column("part", sa.SmallInteger(), nullable=False),
        sa.Column("code", sa.Text(collation="C"), nullable=False),
        sa.Column("position", sa.BigInteger(), nullable=False),
        sa.Column("state", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("strategy", "strategy_version", "part"),
    )


def downgrade() -> None:
    for table in TABLES:
        op.drop_table(table)
