"""The words by which photos are found, and the order of names."""

import pytest

from retint import words


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("box 7/IMG_0001.tif", ["box", "7", "img", "0001", "tif"]),
        ("Straße nach Köln, 1912", ["strasse", "nach", "koln", "1912"]),
        ("Stra\u0308nge STRÄNGE", ["strange", "strange"]),
        ("L'été: \"O'Brien\" & Søren", ["l", "ete", "o", "brien", "søren"]),
        ("Москва 北京 ½", ["москва", "北京", "1", "2"]),
        ("~t0 'a':* | !b <-> (c) \\ \0", ["t", "0", "a", "b", "c"]),
        ("…", []),
    ],
)
def test_a_text_is_split_into_words_without_accents_and_case(text: str, found: list[str]) -> None:
    assert words.split(text) == found


def test_names_are_in_an_order_for_people() -> None:
    names = ["IMG_10.tif", "img_9.tif", "Box 2/a.tif", "box 10/a.tif", "a.tif"]
    assert sorted(names, key=words.sort_key) == ["a.tif", "Box 2/a.tif", "box 10/a.tif", "img_9.tif", "IMG_10.tif"]
