"""The export of the audit record, for pages and API alike."""

from uuid import UUID

from flask import Response

from retint.audit import reading
from retint.services import Services

CONTENT_TYPE = "application/jsonl"


def send(services: Services, tenant_id: UUID) -> Response:
    """Answer with a chain as JSON lines, which are read while they are sent."""
    headers = {"Content-Disposition": 'attachment; filename="audit.jsonl"'}
    return Response(reading.export(services, tenant_id), content_type=CONTENT_TYPE, headers=headers)
