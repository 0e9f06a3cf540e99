"""Reviews with evidence, options and a deadline; commands with what came of them."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

JSON = sa.JSON().with_variant(postgresql.JSONB(), "postgresql")

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    # The defaults are for the rows that exist: questions without a deadline, answered by whoever commands the run.
    with op.batch_alter_table("reviews", schema=None) as batch_op:
        batch_op.add_column(sa.Column("evidence", JSON, nullable=True))
        batch_op.add_column(sa.Column("options", JSON, nullable=False, server_default="[]"))
        batch_op.add_column(sa.Column("recommended", sa.String(length=40), nullable=True))
        batch_op.add_column(sa.Column("answered_by", JSON, nullable=False, server_default="[]"))
        batch_op.add_column(sa.Column("deadline_at", sa.Double(), nullable=True))
        batch_op.add_column(sa.Column("on_deadline", sa.String(length=40), nullable=False, server_default="hold"))
        batch_op.add_column(sa.Column("is_overdue", sa.Boolean(), nullable=False, server_default=sa.false()))
        batch_op.add_column(sa.Column("decided_via", sa.String(length=40), nullable=True))
        batch_op.create_index("ix_reviews_due", ["status", "is_overdue", "deadline_at"], unique=False)
    with op.batch_alter_table("commands", schema=None) as batch_op:
        batch_op.add_column(sa.Column("review_id", sa.String(length=200), nullable=True))
        batch_op.add_column(sa.Column("applied_step", sa.Integer(), nullable=True))
        batch_op.add_column(sa.Column("problem", JSON, nullable=True))
        batch_op.add_column(sa.Column("settled_at", sa.DateTime(timezone=True), nullable=True))
        batch_op.create_index("ix_commands_status", ["status", "run_id"], unique=False)


def downgrade() -> None:
    with op.batch_alter_table("commands", schema=None) as batch_op:
        batch_op.drop_index("ix_commands_status")
        batch_op.drop_column("settled_at")
        batch_op.drop_column("problem")
        batch_op.drop_column("applied_step")
        batch_op.drop_column("review_id")
    with op.batch_alter_table("reviews", schema=None) as batch_op:
        batch_op.drop_index("ix_reviews_due")
        batch_op.drop_column("decided_via")
        batch_op.drop_column("is_overdue")
        batch_op.drop_column("on_deadline")
        batch_op.drop_column("deadline_at")
        batch_op.drop_column("answered_by")
        batch_op.drop_column("recommended")
        batch_op.drop_column("options")
        batch_op.drop_column("evidence")
