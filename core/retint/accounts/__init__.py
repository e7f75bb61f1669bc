"""Who people are and what they may do: people, one-time links, passwords, sessions, tokens.

This module is the face of the package: callers write `accounts.verb(session, …)`. Within it, each module has a subject:

    identities  who is asking, and what they may
    people      an institution's people: add, list, change the role, disable; operators
    links       one-time links to sign in with, by which people join and reset passwords
    passwords   passwords, and signing in with them
    sessions    the sessions of browsers, which live on the server
    tokens      keys for the API, of persons and of service accounts
"""

from retint.accounts.identities import Identity, MissingScope, Unauthorized, identify
from retint.accounts.links import forget_password, invite, redeem
from retint.accounts.passwords import FAILURES_PER_PAIR, LIMIT_WINDOW_S, TooManyFailures, set_password, sign_in
from retint.accounts.people import (
    INVITATION_H,
    create_user,
    disable,
    enable,
    find_user,
    get_or_create_tenant,
    give_role,
    has_operator,
    invite_person,
    let_in,
    list_everybody,
    list_people,
    reset_password,
    set_operator,
    set_role,
    shut_out,
    take_password,
)
from retint.accounts.sessions import (
    begin_session,
    end_session,
    end_sessions,
    identify_session,
    list_sessions,
    note_session_use,
)
from retint.accounts.tokens import (
    identify_token,
    issue_service_token,
    issue_token,
    list_service_tokens,
    list_tokens,
    note_token_use,
    revoke_service_token,
    revoke_token,
    revoke_tokens,
)

__all__ = [
    "FAILURES_PER_PAIR",
    "INVITATION_H",
    "LIMIT_WINDOW_S",
    "Identity",
    "MissingScope",
    "TooManyFailures",
    "Unauthorized",
    "begin_session",
    "create_user",
    "disable",
    "enable",
    "end_session",
    "end_sessions",
    "find_user",
    "forget_password",
    "get_or_create_tenant",
    "give_role",
    "has_operator",
    "identify",
    "identify_session",
    "identify_token",
    "invite",
    "invite_person",
    "issue_service_token",
    "issue_token",
    "let_in",
    "list_everybody",
    "list_people",
    "list_service_tokens",
    "list_sessions",
    "list_tokens",
    "note_session_use",
    "note_token_use",
    "redeem",
    "reset_password",
    "revoke_service_token",
    "revoke_token",
    "revoke_tokens",
    "set_operator",
    "set_password",
    "set_role",
    "shut_out",
    "sign_in",
    "take_password",
]
