"""Features: bars as first known, sets, what is carried along, rows.

Revision ID: 0004
Revises: 0003
"""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

TABLES = ("known_bars", "feature_markets", "feature_sets", "feature_slots", "features")


def upgrade() -> None:
    op.create_table(
        "known_bars",
        sa.Column("instrument", sa.Text(collation="C"), nullable=False),
        sa.Column("timeframe", sa.SmallInteger(), nullable=False),
        sa.Column("start", sa.BigInteger(), nullable=False),
        sa.Column("open", sa.Double(), nullable=False),
        sa.Column("high", sa.Double(), nullable=False),
        sa.Column("low", sa.Double(), nullable=False),
        sa.Column("close", sa.Double(), nullable=False),
        sa.Column("volume", sa.Double(), nullable=False),
        sa.Column("taker_buy", sa.Double(), nullable=False),
        sa.Column("trades", sa.Double(), nullable=False),
        sa.Column("known_time", sa.BigInteger(), nullable=False),
        sa.Column("position", sa.BigInteger(), nullable=False),
        sa.Column("first_position", sa.BigInteger(), nullable=False),
        sa.Column("input_position", sa.BigInteger(), nullable=False),
        sa.Column("flags", sa.SmallInteger(), nullable=False),
        sa.PrimaryKeyConstraint("instrument", "timeframe", "start"),
    )
    op.create_table(
        "feature_markets",
        sa.Column("instrument", sa.Text(collation="C"), nullable=False),
        sa.Column("high_water", sa.BigInteger(), nullable=False),
        sa.Column("late", sa.BigInteger(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("position", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("instrument"),
    )
    op.create_table(
        "feature_sets",
        sa.Column("name", sa.Text(collation="C"), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("digest", sa.Text(), nullable=False),
        sa.Column("definition", sa.Text(), nullable=False),
        sa.Column("problem", sa.Text(), nullable=True),
        sa.Column("position", sa.BigInteger(), nullable=False),
        sa.Column("retired_position", sa.BigInteger(), nullable=True),
        sa.PrimaryKeyConstraint("name", "version"),
    )
    op.create_table(
        "feature_slots",
        sa.Column("set_name", sa.Text(collation="C"), nullable=False),
        sa.Column("set_version", sa.Integer(), nullable=False),
        sa.Column("instrument", sa.Text(collation="C"), nullable=False),
        sa.Column("timeframe", sa.SmallInteger(), nullable=False),
        sa.Column("carried", sa.LargeBinary(), nullable=False),
        sa.Column("start", sa.BigInteger(), nullable=False),
        sa.Column("position", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("set_name", "set_version", "instrument", "timeframe"),
    )
    op.create_table(
        "features",
        sa.Column("set_name", sa.Text(collation="C"), nullable=False),
        sa.Column("set_version", sa.Integer(), nullable=False),
        sa.Column("instrument", sa.Text(collation="C"), nullable=False),
        sa.Column("timeframe", sa.SmallInteger(), nullable=False),
        sa.Column("start", sa.BigInteger(), nullable=False),
        sa.Column("vals", sa.ARRAY(sa.Double()), nullable=False),
        sa.Column("known_time", sa.BigInteger(), nullable=False),
        sa.Column("position", sa.BigInteger(), nullable=False),
        sa.Column("first_position", sa.BigInteger(), nullable=False),
        sa.Column("input_position", sa.BigInteger(), nullable=False),
        sa.Column("flags", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("set_name", "set_version", "instrument", "timeframe", "start"),
    )


def downgrade() -> None:
    for table in reversed(TABLES):
        op.drop_table(table)
