"""Headers of downloads."""

from hypothesis import assume, given
from hypothesis import strategies as st

from retint.errors import InvalidRequest
from retint.names import clean_name
from retint_web.files.blobs import content_disposition


@given(st.text(st.characters(), min_size=1, max_size=300))
def test_a_download_header_is_one_line_of_ascii(name: str) -> None:
    try:
        header = content_disposition("attachment", clean_name(name))
    except InvalidRequest:
        assume(False)
    assert header.isascii()
    assert "\n" not in header
    assert "\r" not in header
