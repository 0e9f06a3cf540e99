"""Workers that register, and the queue of runs that wait for one."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

JSON = sa.JSON().with_variant(postgresql.JSONB(), "postgresql")

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "workers",
        sa.Column("worker_id", sa.String(length=200), nullable=False),
        sa.Column("base_url", sa.Text(), nullable=False),
        sa.Column("root_id", sa.String(length=300), nullable=False),
        sa.Column("slots", sa.Integer(), nullable=False),
        sa.Column("info", JSON, nullable=False),
        sa.Column("is_draining", sa.Boolean(), nullable=False),
        sa.Column("is_lost", sa.Boolean(), nullable=False),
        sa.Column("heartbeat_at", sa.Double(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("worker_id"),
    )
    with op.batch_alter_table("runs", schema=None) as batch_op:
        # The defaults are for the rows that exist; new rows bring their own values.
        batch_op.add_column(sa.Column("priority", sa.Integer(), nullable=False, server_default="0"))
        batch_op.add_column(sa.Column("worker_id", sa.String(length=200), nullable=True))
        batch_op.add_column(sa.Column("root_id", sa.String(length=300), nullable=True))
        batch_op.add_column(sa.Column("queue_seen", sa.Integer(), nullable=False, server_default="0"))
        batch_op.create_index("ix_runs_worker", ["status", "worker_id"], unique=False)
    # Runs that were being trained wait for their worker to be seen; the queue gives them back to it first.
    op.execute("UPDATE runs SET status = 'queued' WHERE status = 'running'")


def downgrade() -> None:
    op.execute("UPDATE runs SET status = 'running' WHERE status = 'queued' AND step > 0")
    with op.batch_alter_table("runs", schema=None) as batch_op:
        batch_op.drop_index("ix_runs_worker")
        batch_op.drop_column("queue_seen")
        batch_op.drop_column("root_id")
        batch_op.drop_column("worker_id")
        batch_op.drop_column("priority")
    op.drop_table("workers")
