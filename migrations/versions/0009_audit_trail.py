"""The audit trail: who did what, and why.

Revision ID: 0009
Revises: 0008
"""

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None

BY = {"actor": "actor", "strategy": "strategy", "instrument": "instrument", "stream": "stream"}
BY |= {"correlation": "correlation_id", "cause": "cause_id", "name": "name"}


def upgrade() -> None:
    op.create_table(
        "audit_trail",
        sa.Column("position", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("event_id", sa.Uuid(), nullable=False),
        sa.Column("stream", sa.Text(collation="C"), nullable=False),
        sa.Column("version", sa.BigInteger(), nullable=False),
        sa.Column("name", sa.Text(collation="C"), nullable=False),
        sa.Column("recorded_at", sa.BigInteger(), nullable=False),
        sa.Column("event_time", sa.BigInteger(), nullable=True),
        sa.Column("cause_id", sa.Uuid(), nullable=True),
        sa.Column("correlation_id", sa.Uuid(), nullable=True),
        sa.Column("actor", sa.Text(collation="C"), nullable=False),
        sa.Column("strategy", sa.Text(collation="C"), nullable=True),
        sa.Column("instrument", sa.Text(collation="C"), nullable=True),
        sa.Column("number", sa.Integer(), nullable=True),
        sa.Column("said", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("position"),
    )
    for name, column in BY.items():
        op.create_index(f"audit_trail_by_{name}", "audit_trail", [column, "position"], unique=False)


def downgrade() -> None:
    op.drop_table("audit_trail")
