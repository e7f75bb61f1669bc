"""What `retint evaluate` refuses."""

from pathlib import Path

import pytest
from tests.unit.models.command.retint_command import run


@pytest.mark.parametrize(
    ("names", "reason"),
    [
        ("compact,nobody", "no such network: 'nobody'; there are compact, compact-vivid"),
        ("compact,,compact-vivid", "no such network: ''"),
        ("compact,compact", "compact is named twice"),
    ],
)
def test_bad_names_are_refused_before_a_photograph_is_read(names: str, reason: str, tmp_path: Path) -> None:
    refused = run("evaluate", tmp_path, "--colorizers", names)
    assert refused.exit_code == 2
    assert reason in refused.output


def test_old_photographs_need_a_sheet_to_be_shown_on(photos: Path) -> None:
    refused = run("evaluate", photos, "--old", photos)
    assert refused.exit_code == 2
    assert "--old and --old-sheet belong together" in refused.output


def test_weights_that_are_not_here_are_named_with_how_to_get_them(tmp_path: Path, photos: Path) -> None:
    refused = run("evaluate", photos, "--colorizers", "lab-resnet18", "--folder", tmp_path)
    assert refused.exit_code == 2
    assert "retint weights import" in refused.output
