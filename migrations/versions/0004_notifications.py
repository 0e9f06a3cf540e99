"""Notifications: claims, receipts and targets."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

JSON = sa.JSON().with_variant(postgresql.JSONB(), "postgresql")

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "notify_targets",
        sa.Column("target_id", sa.String(length=64), nullable=False),
        sa.Column("channel", sa.String(length=16), nullable=False),
        sa.Column("address", sa.Text(), nullable=False),
        sa.Column("disabled_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("paused_until", sa.Double(), nullable=False),
        sa.PrimaryKeyConstraint("target_id"),
    )
    with op.batch_alter_table("outbox", schema=None) as batch_op:
        batch_op.alter_column("key", existing_type=sa.String(length=400), type_=sa.Text(), existing_nullable=False)
        batch_op.add_column(sa.Column("review_id", sa.String(length=200), nullable=True))
        # The defaults are for the rows that exist; new rows bring their own values.
        batch_op.add_column(sa.Column("escalates", sa.Boolean(), nullable=False, server_default=sa.false()))
        batch_op.add_column(sa.Column("claimed_until", sa.Double(), nullable=False, server_default="0"))
        batch_op.add_column(sa.Column("receipt", JSON, nullable=True))
        batch_op.add_column(sa.Column("sent_at", sa.DateTime(timezone=True), nullable=True))
    op.execute("UPDATE outbox SET status = 'sent' WHERE status = 'delivered'")


def downgrade() -> None:
    op.execute("UPDATE outbox SET status = 'delivered' WHERE status = 'sent'")
    op.execute("UPDATE outbox SET status = 'failed' WHERE status = 'dropped'")
    with op.batch_alter_table("outbox", schema=None) as batch_op:
        batch_op.drop_column("sent_at")
        batch_op.drop_column("receipt")
        batch_op.drop_column("claimed_until")
        batch_op.drop_column("escalates")
        batch_op.drop_column("review_id")
        batch_op.alter_column("key", existing_type=sa.Text(), type_=sa.String(length=400), existing_nullable=False)
    op.drop_table("notify_targets")
