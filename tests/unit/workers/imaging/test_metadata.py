"""The policy for metadata has one rule for each kind."""

import pytest

from retint_workers.imaging.metadata.policy import DEFAULTS, POLICY, Action, find_rule


def test_no_two_rules_speak_of_the_same_metadata() -> None:
    keys = [(rule.container, key) for rule in POLICY for key in rule.keys]
    assert len(keys) == len(set(keys))


def test_what_is_left_out_is_said_in_a_sentence() -> None:
    for rule in POLICY:
        if rule.action in (Action.DROP, Action.KEEP_UNLESS_COLORED):
            assert rule.reason[0].isupper(), rule
            assert rule.reason.endswith("."), rule
            assert "left out" in rule.reason, rule


@pytest.mark.parametrize("container", DEFAULTS)
def test_what_nobody_knows_is_kept(container: str) -> None:
    assert find_rule(container, 65_001 if container in ("tiff", "photoshop") else b"\xe7xyZy").action is Action.KEEP


def test_a_rule_is_found_by_what_the_metadata_begins_with() -> None:
    keys = {b"\xe1Exif\0\0II*\0": Action.REWRITE, b"\xe2MPF\0": Action.DROP, b"\xe2FPXR\0": Action.KEEP}
    assert {key: find_rule("jpeg", key).action for key in keys} == keys
    assert find_rule("tiff", 33723).action is Action.KEEP
    assert find_rule("tiff", 273).action is Action.OWN
