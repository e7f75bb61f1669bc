"""The document on formats says what runs show."""

from tests import formats_table
from tests.paths import ROOT


def test_the_document_on_formats_is_what_runs_show() -> None:
    assert (ROOT / "docs/formats.md").read_text() == formats_table.make_table()
