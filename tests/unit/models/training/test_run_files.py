"""Files of a run that a crash or a full disk must not spoil."""

from pathlib import Path

import pytest

from retint_models.training.run_files import write_atomically


def test_a_write_that_fails_leaves_the_old_file(tmp_path: Path) -> None:
    write_atomically(tmp_path / "best", b"old")
    (tmp_path / "best.partial").mkdir()
    with pytest.raises(OSError, match="directory"):
        write_atomically(tmp_path / "best", b"new")
    assert (tmp_path / "best").read_bytes() == b"old"
