import pytest
from hypothesis import given
from hypothesis import strategies as st

from retint.errors import InvalidRequest
from retint.names import clean_name, unique_path

NAMES = st.text(st.characters(), min_size=1, max_size=300)
PATHS = st.lists(
    st.sampled_from(["..", ".", "", "a", "C:", "nul", "é", "e\u0301", " x ", "x.", "b.jpg"]), min_size=1
).map("/".join)


@pytest.mark.parametrize(
    ("name", "suffix", "path"),
    [
        ("a.jpg", ".jpg", "a.jpg"),
        ("a.JPEG", ".jpg", "a.JPEG"),
        ("scan.tiff", ".tif", "scan.tiff"),
        ("scan.png", ".jpg", "scan.jpg"),
        ("1912/Lake Como/a.jpg", ".jpg", "1912/Lake Como/a.jpg"),
        ("C:\\photos\\a.jpg", ".jpg", "C_/photos/a.jpg"),
        ("../../etc/passwd", ".jpg", "etc/passwd.jpg"),
        ("/root.jpg", ".jpg", "root.jpg"),
        ("...", ".jpg", "photo.jpg"),
        (".jpg", ".jpg", ".jpg.jpg"),
        ("con.jpg", ".jpg", "_con.jpg"),
        ("No. 7 of 1912", ".jpg", "No. 7 of 1912.jpg"),
        ("a<b>|?.jpg", ".jpg", "a_b___.jpg"),
    ],
)
def test_a_name_becomes_a_path_that_can_be_unpacked_anywhere(name: str, suffix: str, path: str) -> None:
    assert unique_path(name, suffix, set()) == path


def test_names_that_a_file_system_takes_for_one_are_kept_apart() -> None:
    taken: set[str] = set()
    paths = [unique_path(name, ".jpg", taken) for name in ("é.jpg", "e\u0301.jpg", "É.JPG", "é.jpg", "é (2).jpg")]
    assert paths == ["é.jpg", "e\u0301 (2).jpg", "É (3).JPG", "é (4).jpg", "é (2) (2).jpg"]


@given(st.lists(NAMES | PATHS, min_size=1, max_size=8))
def test_no_name_leaves_its_folder_or_meets_another(names: list[str]) -> None:
    taken: set[str] = set()
    paths = [unique_path(clean, ".jpg", taken) for clean in map(_cleaned, names) if clean]
    assert len({path.casefold() for path in paths}) == len(paths)
    for path in paths:
        parts = path.split("/")
        assert all(part.strip(" .") for part in parts), path
        assert not set(path) & set('\\:*?"<>|\0\n'), path
        assert all(len(part.encode()) <= 255 for part in parts), path
        assert path.lower().endswith((".jpg", ".jpeg", ".jpe"))


def _cleaned(name: str) -> str | None:
    try:
        return clean_name(name)
    except InvalidRequest:
        return None


@given(NAMES)
def test_a_shown_name_has_nothing_unseen_in_it(name: str) -> None:
    shown = _cleaned(name)
    assert shown is None or not set(shown) & set("\0\n\r\t\x1b\u202e\u2066\u200b\u2028\ufeff\ud800\udfff")
    assert shown is None or shown.encode()


@pytest.mark.parametrize("name", ["", " ", "\u3000", "x" * 1025, "\n" * 200])
def test_a_name_that_is_none_is_refused(name: str) -> None:
    with pytest.raises(InvalidRequest):
        clean_name(name)


def test_emoji_and_scripts_stay_as_they_are() -> None:
    for name in ("👨‍👩‍👧 1912.jpg", "祖母の写真.tif", "صورة.png", "x" * 1024):
        assert clean_name(name) == name
