"""The JSON API, version 1, and its OpenAPI document.

Every operation calls the same functions of the core as the pages do. `openapi` defines what an operation is, `requests`
and `responses` hold its messages, `blueprint` what all operations share; the other modules hold the operations, one
module a subject. Importing the package registers them all. `sending` offers some of them to the deposit page.
"""

from retint_web.api import (
    administration,
    audit,
    batches,
    catalogue,
    institutions,
    jobs,
    networks,
    people,
    proofs,
    providers,
    sending,
    trials,
    uploads,
    verdicts,
    webhooks,
)

__all__ = [
    "administration",
    "audit",
    "batches",
    "catalogue",
    "institutions",
    "jobs",
    "networks",
    "people",
    "proofs",
    "providers",
    "sending",
    "trials",
    "uploads",
    "verdicts",
    "webhooks",
]
