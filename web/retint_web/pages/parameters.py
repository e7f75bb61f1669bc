"""Values that pages read from addresses and forms."""

from uuid import UUID

from retint.errors import InvalidRequest


def parse_id(text: str) -> UUID:
    """Parse the id of a batch, photo or trial.

    Raises:
        InvalidRequest: it is not an id.
    """
    try:
        return UUID(text)
    except ValueError as error:
        raise InvalidRequest("The request contains an id that is not valid.") from error
