"""Which record belongs to which file: by path, then by a name that is the only one, then by identifier."""

from uuid import UUID, uuid4

from retint.records import Catalogue, Choice, Known, choose, key_of, keys_of

Asked = dict[str, tuple[str | None, str | None]]


def match(records: dict[str, tuple[str | None, str | None]], *names: str) -> dict[str, set[str]]:
    """Match records (path and identifier, by a letter) with files; return the letters that each file may have."""
    choices, letters, _ = match_fully(records, *names)
    return {
        name: {letters[each] for each in (choice.record, *choice.candidates) if each}
        for name, choice in choices.items()
    }


def match_fully(
    records: dict[str, tuple[str | None, str | None]], *names: str
) -> tuple[dict[str, Choice], dict[UUID, str], set[str]]:
    ids = {letter: uuid4() for letter in records}
    letters = {record_id: letter for letter, record_id in ids.items()}
    known = []
    for letter, (path, identifier) in records.items():
        keys = keys_of(path or "")
        path_key, base_key = (keys.path, keys.base) if path else (None, None)
        named = key_of(identifier.casefold()) if identifier else None
        known.append(Known(ids[letter], path_key, base_key, named, letter.isupper()))
    choices, contested = choose(Catalogue.of(known), names)
    return choices, letters, {letters[each] for each in contested}


def test_the_path_comes_first() -> None:
    found = match({"a": ("box/1.tif", None), "b": ("1.tif", None)}, "box/1.tif", "1.tif")
    assert found == {"box/1.tif": {"a"}, "1.tif": {"b"}}


def test_a_name_that_only_one_record_has_is_enough() -> None:
    assert match({"a": ("D:\\scans\\box\\IMG_1.TIF", None)}, "box/img_1.tif") == {"box/img_1.tif": {"a"}}


def test_what_another_file_has_by_its_path_is_not_guessed() -> None:
    found = match({"a": ("one/1.tif", None)}, "two/1.tif", "one/1.tif")
    assert found == {"two/1.tif": set(), "one/1.tif": {"a"}}


def test_the_identifier_is_the_name_without_its_ending_or_the_path() -> None:
    found = match({"a": (None, "NM-1923-45"), "b": (None, "box/2.tif")}, "x/nm-1923-45.tif", "box/2.tif")
    assert found == {"x/nm-1923-45.tif": {"a"}, "box/2.tif": {"b"}}


def test_accents_are_the_same_however_they_are_encoded() -> None:
    assert match({"a": ("Stra\u0308nge.tif", None)}, "Str\u00e4nge.tif") == {"Str\u00e4nge.tif": {"a"}}


def test_two_records_or_two_files_that_could_be_meant_are_not_clear() -> None:
    choices, letters, contested = match_fully({"a": ("x/1.tif", None), "B": ("y/1.tif", None)}, "z/1.tif")
    assert (choices["z/1.tif"].record, choices["z/1.tif"].do_not_colorize) == (None, True)
    assert ({letters[each] for each in choices["z/1.tif"].candidates}, contested) == ({"a", "B"}, set())
    choices, letters, contested = match_fully({"A": ("1.tif", None)}, "x/1.tif", "y/1.tif")
    assert {(choice.record, choice.do_not_colorize) for choice in choices.values()} == {(None, True)}
    assert contested == {"A"}
