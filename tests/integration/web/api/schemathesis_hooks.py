"""What schemathesis loads: bytes of a resumable upload are sent as any other bytes are."""

import schemathesis

schemathesis.serializer.alias("application/offset+octet-stream", "application/octet-stream")
