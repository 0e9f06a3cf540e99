"""What became of a repair: whether it is on probation, until when, and how that ended."""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Two columns beside the repair; repairs made before have no state."""
    with op.batch_alter_table("diagnoses") as diagnoses:
        diagnoses.add_column(sa.Column("repair_state", sa.String(16), nullable=True))
        diagnoses.add_column(sa.Column("probation_ends_step", sa.Integer(), nullable=True))


def downgrade() -> None:
    """Forgets it."""
    with op.batch_alter_table("diagnoses") as diagnoses:
        diagnoses.drop_column("probation_ends_step")
        diagnoses.drop_column("repair_state")
