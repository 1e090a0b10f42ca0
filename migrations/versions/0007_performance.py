"""Candidates in one row of numbers, and whose votes they were made of.

Revision ID: 0007
Revises: 0006
"""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "candidates",
        sa.Column("decision", sa.Text(collation="C"), nullable=False),
        sa.Column("strategy", sa.Text(collation="C"), nullable=False),
        sa.Column("strategy_version", sa.Integer(), nullable=False),
        sa.Column("instrument", sa.Text(collation="C"), nullable=False),
        sa.Column("timeframe", sa.SmallInteger(), nullable=False),
        sa.Column("side", sa.SmallInteger(), nullable=False),
        sa.Column("position", sa.BigInteger(), nullable=True),
        sa.Column("opened", sa.BigInteger(), nullable=True),
        sa.Column("entry", sa.Double(), nullable=True),
        sa.Column("confidence", sa.Double(), nullable=True),
        sa.Column("size_ratio", sa.Double(), nullable=True),
        sa.Column("regime", sa.Text(collation="C"), nullable=True),
        sa.Column("label", sa.Text(collation="C"), nullable=True),
        sa.Column("outcome_position", sa.BigInteger(), nullable=True),
        sa.Column("number", sa.Integer(), nullable=True),
        sa.Column("closed", sa.BigInteger(), nullable=True),
        sa.Column("is_win", sa.SmallInteger(), nullable=True),
        sa.Column("worst_win", sa.SmallInteger(), nullable=True),
        sa.Column("best_win", sa.SmallInteger(), nullable=True),
        sa.Column("gross_bps", sa.Double(), nullable=True),
        sa.Column("net_bps", sa.Double(), nullable=True),
        sa.Column("net_r", sa.Double(), nullable=True),
        sa.Column("worst_price", sa.Double(), nullable=True),
        sa.Column("best_price", sa.Double(), nullable=True),
        sa.Column("reason", sa.Text(collation="C"), nullable=True),
        sa.PrimaryKeyConstraint("decision"),
    )
    op.create_index("candidates_by_time", "candidates", ["strategy", "opened"], unique=False)
    op.create_table(
        "vote_shares",
        sa.Column("decision", sa.Text(collation="C"), nullable=False),
        sa.Column("strategy", sa.Text(collation="C"), nullable=False),
        sa.Column("position", sa.BigInteger(), nullable=False),
        sa.Column("is_exact", sa.Boolean(), nullable=False),
        sa.Column("voters", sa.ARRAY(sa.Text()), nullable=False),
        sa.Column("patterns", sa.ARRAY(sa.Text()), nullable=False),
        sa.Column("shares", sa.ARRAY(sa.Double()), nullable=False),
        sa.Column("without", sa.ARRAY(sa.Double()), nullable=False),
        sa.PrimaryKeyConstraint("decision"),
    )


def downgrade() -> None:
    op.drop_table("vote_shares")
    op.drop_table("candidates")
