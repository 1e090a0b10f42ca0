"""Verdicts on the quality of features.

Revision ID: 0005
Revises: 0004
"""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "feature_quality",
        sa.Column("set_name", sa.Text(collation="C"), nullable=False),
        sa.Column("set_version", sa.Integer(), nullable=False),
        sa.Column("instrument", sa.Text(collation="C"), nullable=False),
        sa.Column("timeframe", sa.SmallInteger(), nullable=False),
        sa.Column("feature", sa.Text(collation="C"), nullable=False),
        sa.Column("check_name", sa.Text(collation="C"), nullable=False),
        sa.Column("position", sa.BigInteger(), nullable=False),
        sa.Column("is_breached", sa.Boolean(), nullable=False),
        sa.Column("value", sa.Double(), nullable=False),
        sa.Column("threshold", sa.Double(), nullable=False),
        sa.Column("rows", sa.Integer(), nullable=False),
        sa.Column("reference_rows", sa.Integer(), nullable=False),
        sa.Column("detail", sa.Text(), nullable=False),
        sa.Column("clock", sa.BigInteger(), nullable=False),
        sa.Column("seen_position", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint(
            "set_name", "set_version", "instrument", "timeframe", "feature", "check_name", "position"
        ),
    )


def downgrade() -> None:
    op.drop_table("feature_quality")
