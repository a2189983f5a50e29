"""Keys: the times of expiry and last use, and the scope for making keys."""

import sqlalchemy as sa
from alembic import op

revision = "0015"
down_revision = "0014"
branch_labels = None
depends_on = None

# Before there was this scope, a key with the scope `operate` could make and revoke keys.
KEYS_WRITE = """
UPDATE api_keys SET scopes = array_append(scopes, 'keys:write')
WHERE bank IS NULL AND revoked_at IS NULL
AND scopes @> ARRAY['transactions:write', 'transactions:read', 'banks:write', 'operate'] AND 'keys:write' <> ALL(scopes)
"""


def upgrade() -> None:
    op.add_column("api_keys", sa.Column("expires_at", sa.TIMESTAMP(timezone=True), nullable=True))
    op.add_column("api_keys", sa.Column("last_used_at", sa.TIMESTAMP(timezone=True), nullable=True))
    op.execute(KEYS_WRITE)
