"""The audit record: who did what."""

from sqlalchemy.orm import Session

from retint.accounts.identities import Identity
from retint.tables import AuditEntry


def record_action(session: Session, action: str, subject: str, identity: Identity | None = None) -> None:
    """Add an audit entry, in the transaction of the action itself."""
    session.add(
        AuditEntry(
            tenant_id=identity.tenant_id if identity else None,
            user_id=identity.user_id if identity else None,
            action=action,
            subject=subject[:254],
        )
    )
