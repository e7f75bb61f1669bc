"""What was done, in words: one sentence for each action."""

from dataclasses import dataclass
from typing import Any, Final

HOUSE_ACTIONS: Final = frozenset(
    {
        "addresses_forgotten",
        "counts_mended",
        "database_restored",
        "faults_retried",
        "fleet_scaled",
        "institution_added",
        "institution_changed",
        "institution_disabled",
        "institution_enabled",
        "schema_migrated",
        "secrets_resealed",
        "store_adopted",
        "store_swept",
        "tenant_created",
    }
)
"""Actions on the house: they are in its chain, whoever does them."""

PHRASES: Final = {
    "addresses_forgotten": "deleted the network addresses of entries before {subject}",
    "batch_cancelled": "cancelled {subject}",
    "batch_opened": "opened {subject}",
    "batch_paused": "paused {subject}",
    "batch_released": "released {subject} from its proof",
    "batch_resumed": "resumed {subject}",
    "batch_run_again": "ran photos of {subject} again",
    "catalogue_imported": "imported the catalogue of {subject}",
    "chain_begun": "began the chain: {subject} before this one were written without one",
    "counts_mended": "set right what is counted of the institution {subject}",
    "database_restored": "restored the database from the dump {subject}",
    "failures_retried": "retried failed photos: {subject}",
    "faults_retried": "retried every institution's faults: {subject}",
    "file_deposited": "deposited {subject}",
    "files_deposited": "deposited files that were known already into {subject}",
    "fleet_scaled": "set how many {subject} workers are wanted",
    "identity_connected": "connected {subject} with a sign-in provider",
    "identity_disconnected": "disconnected {subject} from a sign-in provider",
    "identity_linked": "linked {subject} with a sign-in provider",
    "institution_added": "added the institution {subject}",
    "institution_changed": "changed what the institution {subject} may use",
    "institution_disabled": "disabled the institution {subject}",
    "institution_enabled": "enabled the institution {subject} again",
    "job_cancelled": "cancelled {subject}",
    "job_judged": "judged {subject}",
    "job_restored_again": "had {subject} restored again",
    "job_retried": "retried {subject}",
    "job_reworked": "sent {subject} back to be reworked",
    "link_made": "made a one-time sign-in link for {subject}",
    "mail_chosen": "chose which e-mail is sent to {subject}",
    "operator_set": "changed whether {subject} is an operator",
    "password_reset": "let {subject} choose a new password",
    "password_set": "set a new password for {subject}",
    "person_disabled": "shut {subject} out",
    "person_enabled": "let {subject} in again",
    "person_invited": "invited {subject}",
    "photo_kept": "uploaded {subject}",
    "proof_begun": "began a proof of {subject}",
    "proof_discarded": "discarded the proof of {subject}",
    "provider_added": "added the sign-in provider {subject}",
    "provider_changed": "changed the sign-in provider {subject}",
    "provider_removed": "removed the sign-in provider {subject}",
    "reset_asked": "asked for a new password for {subject}",
    "role_changed": "changed the role of {subject}",
    "schema_migrated": "brought the database's schema up to date: {subject}",
    "secrets_resealed": "sealed secrets with the present secret of the installation: {subject}",
    "service_account_made": "made the service account {subject}",
    "service_account_revoked": "revoked the service account {subject}",
    "session_ended": "ended a session of {subject}",
    "shut_out": "shut {subject} out",
    "sign_in_refused": "was kept from signing in after too many failures: {subject}",
    "signed_in": "signed in {subject}",
    "signed_out": "signed out",
    "store_adopted": "joined this database with the store {subject}",
    "store_swept": "swept the store: {subject}",
    "tenant_created": "created the institution {subject}",
    "token_issued": "issued the API token {subject}",
    "token_revoked": "revoked the API token {subject}",
    "trial_begun": "began {subject}",
    "trial_cancelled": "cancelled {subject}",
    "trial_try_added": "added a try to {subject}",
    "user_created": "added the user {subject}",
    "webhook_added": "added the webhook {subject}",
    "webhook_changed": "changed the webhook {subject}",
    "webhook_deleted": "deleted the webhook {subject}",
    "webhook_paused": "paused the webhook {subject}",
    "webhook_resumed": "resumed the webhook {subject}",
    "webhook_rotated": "gave the webhook {subject} a new secret",
    "webhook_tested": "sent a test to the webhook {subject}",
    "webhook_told_again": "sent a notification again to the webhook {subject}",
}
"""What follows the person's name, by action."""


@dataclass(frozen=True)
class Change:
    """One value that changed, in words."""

    name: str
    before: str
    after: str


def describe(action: str, subject: str) -> str:
    """Say what was done, as it follows the person's name; an action of another version in its own words."""
    phrase = PHRASES.get(action)
    return phrase.format(subject=subject) if phrase else f"{action.replace('_', ' ')}: {subject}"


def list_changes(before: dict[str, Any] | None, after: dict[str, Any] | None) -> list[Change]:
    """List what changed, value by value; what stayed the same is left out."""
    old, new = before or {}, after or {}
    names = [*old, *(name for name in new if name not in old)]
    return [
        Change(name.replace("_", " "), _say(old[name]) if name in old else "", _say(new[name]) if name in new else "")
        for name in names
        if name not in old or name not in new or old[name] != new[name]
    ]


def _say(value: Any) -> str:
    if value is None:
        return "nothing"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, dict):
        return ", ".join(f"{name.replace('_', ' ')} {_say(each)}" for name, each in value.items()) or "nothing"
    if isinstance(value, list):
        return ", ".join(map(_say, value)) or "nothing"
    return str(value)
