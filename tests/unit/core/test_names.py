import time
import tracemalloc

import pytest
from hypothesis import given
from hypothesis import strategies as st

from retint.errors import InvalidRequest
from retint.names import clean_name, escape_surrogates, show_name, split_suffix, unique_path

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
        ("1923.45.12", ".jpg", "1923.45.12.jpg"),
        ("1923.45.12.TIF", ".tif", "1923.45.12.TIF"),
        ("1923.45.12.png", ".jpg", "1923.45.12.jpg"),
        ("Portrait of Mr. Smith", ".jpg", "Portrait of Mr. Smith.jpg"),
        ("1923.45.12 (verso).jpg", ".jpg", "1923.45.12 (verso).jpg"),
        ("Dr. No", ".mp4", "Dr. No.mp4"),
        ("box.7/1923.45", ".jpg", "box.7/1923.45.jpg"),
        ("scan.CR2", ".tif", "scan.tif"),
        ("notes.txt", ".jpg", "notes.txt.jpg"),
    ],
)
def test_a_name_becomes_a_path_that_can_be_unpacked_anywhere(name: str, suffix: str, path: str) -> None:
    assert unique_path(name, suffix, set()) == path


def test_accession_numbers_never_meet() -> None:
    taken: set[int] = set()
    paths = [unique_path(f"1923.45.{number}", ".jpg", taken) for number in range(1, 30)]
    assert paths == [f"1923.45.{number}.jpg" for number in range(1, 30)]


def test_a_hundred_thousand_equal_names_are_numbered_in_seconds_and_little_memory() -> None:
    taken: set[int] = set()
    name = "box/" + "祖母の写真" * 60 + "/IMG_0001.jpg"
    started = time.process_time()
    first = [unique_path(name, ".jpg", taken) for _ in range(10)]
    for _ in range(99_980):
        unique_path(name, ".jpg", taken)
    last = [unique_path(name, ".jpg", taken) for _ in range(10)]
    assert time.process_time() - started < 60  # quadratic: a quarter of an hour
    assert [path[-13:] for path in first] == ["/IMG_0001.jpg", *(f"_0001 ({n}).jpg" for n in range(2, 10)),
        "0001 (10).jpg"]  # fmt: skip
    assert last[-1].endswith("IMG_0001 (100000).jpg")
    tracemalloc.start()
    kept = {unique_path(name, ".jpg", taken) and n for n in range(1000)}
    grown = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    assert len(taken) == 101_000
    assert grown / len(kept) < 500, "a taken path costs the same however long it is"


def test_numbers_that_were_deposited_themselves_stay_free_of_others() -> None:
    taken: set[int] = set()
    names = ["a.jpg", "a (2).jpg", "a (4).jpg", "a.jpg", "a.jpg", "a.jpg", "a (2).jpg"]
    paths = [unique_path(name, ".jpg", taken) for name in names]
    assert len(set(paths)) == len(names)
    assert paths[:3] == names[:3]


def test_names_that_a_file_system_takes_for_one_are_kept_apart() -> None:
    taken: set[int] = set()
    paths = [unique_path(name, ".jpg", taken) for name in ("é.jpg", "e\u0301.jpg", "É.JPG", "é.jpg", "é (2).jpg")]
    assert paths == ["é.jpg", "e\u0301 (2).jpg", "É (3).JPG", "é (4).jpg", "é (2) (2).jpg"]


@given(st.lists(NAMES | PATHS, min_size=1, max_size=8))
def test_no_name_leaves_its_folder_or_meets_another(names: list[str]) -> None:
    taken: set[int] = set()
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


def test_what_is_no_text_is_written_out() -> None:
    latin_1 = b"_\xf1_.jpg".decode("utf-8", "surrogateescape")
    assert show_name(latin_1) == escape_surrogates(latin_1) == clean_name(latin_1) == "_%F1_.jpg"
    assert clean_name("a\ud800.jpg") == "a<U+D800>.jpg"
    assert escape_surrogates("two\nlines") == "two\nlines"


def test_only_the_suffix_of_a_picture_is_cut_off() -> None:
    assert split_suffix("1923.45.12", ".jpg") == ("1923.45.12", ".jpg")
    assert split_suffix("scan.JPEG", ".jpg") == ("scan", ".JPEG")
    assert split_suffix(".jpg", ".jpg") == (".jpg", ".jpg")
