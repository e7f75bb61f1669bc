"""The policy for metadata has one rule for each kind."""

from retint_workers.imaging.metadata import POLICY, TIFF_TAGS, Action, find_rule


def test_no_two_rules_speak_of_the_same_metadata() -> None:
    prefixes = [rule.vips_prefix for rule in POLICY if rule.vips_prefix]
    assert not [(one, other) for one in prefixes for other in prefixes if one != other and other.startswith(one)]
    assert len(TIFF_TAGS) == sum(len(rule.tiff_tags) for rule in POLICY)


def test_every_rule_names_metadata() -> None:
    assert all(rule.vips_prefix or rule.tiff_tags for rule in POLICY)
    assert all(rule.tiff_tags for rule in POLICY if rule.is_left_to_tiff_tags)


def test_a_rule_is_found_by_the_name_that_libvips_gives() -> None:
    names = ("exif-ifd0-Artist", "iptc-data", "xmp-data", "icc-profile-data", "orientation")
    actions = [rule.action if (rule := find_rule(name)) else None for name in names]
    assert actions == [Action.KEEP, Action.KEEP, Action.MERGE, Action.REPLACE, Action.KEEP]
    assert find_rule("vips-loader") is None
