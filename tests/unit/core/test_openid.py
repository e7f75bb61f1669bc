"""What a provider says, read."""

from retint import openid


def test_claims_are_found_by_names_with_dots() -> None:
    claims = {"a": {"b": {"c": 1}, "x.y": 2}, "https://museum.example/groups": ["it"], "z": 3}
    for name, value in (
        ("a.b.c", 1),
        ("a.x.y", 2),
        ("https://museum.example/groups", ["it"]),
        ("z", 3),
        ("z.b", None),
        ("a.q", None),
        ("", None),
    ):
        assert openid.find_claim(claims, name) == value, name
