"""`retint restore` on films: the report, going on after SIGKILL, and memory that does not grow with the film."""

import json
import os
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil
from tests import films

COMMAND = [sys.executable, "-m", "retint", "restore"]
ENVIRONMENT = os.environ | {"OMP_NUM_THREADS": "1", "RETINT_WEIGHTS": "nowhere", "RETINT_DEVICE": "cpu"}


def restore(*arguments: object) -> dict[str, Any]:
    command = [*COMMAND, *map(str, arguments), "--json"]
    ended = subprocess.run(command, capture_output=True, text=True, check=True, env=ENVIRONMENT)
    (row,) = json.loads(ended.stdout)
    return dict(row)


def list_segments(folder: Path) -> dict[str, int]:
    """Return the segments in hidden folders, with the time when each was written."""
    return {path.name: path.stat().st_mtime_ns for path in folder.glob(".*/*-*.segment")}


def kill_restoration(path: Path, out: Path, *, when: int) -> dict[str, int]:
    """Kill a restoration (SIGKILL) as soon as there are so many segments; return those that are left."""
    with subprocess.Popen(
        [*COMMAND, str(path), "--out", str(out)], env=ENVIRONMENT, start_new_session=True, stderr=subprocess.DEVNULL
    ) as process:
        deadline = time.monotonic() + 120
        while len(list_segments(out)) < when and process.poll() is None and time.monotonic() < deadline:
            time.sleep(0.02)
        process.kill()
    left = list_segments(out)
    assert len(left) >= when
    return left


def test_an_interrupted_film_continues_and_the_result_is_the_same(tmp_path: Path) -> None:
    path = films.write(tmp_path / "film.mp4", films.two_scenes(60), times=films.uneven_times(60))
    straight, out = tmp_path / "straight", tmp_path / "out"
    row = restore(path, "--out", straight, "--layers")
    assert (row["status"], row["film"]["frames"], row["film"]["scenes"]) == ("restored", 60, 2)
    assert 0 < row["film"]["cdc"] < row["film"]["cdc_frame_by_frame"]
    assert row["film"]["ms_per_frame"] > 0
    left = kill_restoration(path, out, when=1)
    assert not list(out.glob("film*"))
    again = kill_restoration(path, out, when=len(left) + 1)
    assert again.items() >= left.items()
    resumed = restore(path, "--out", out, "--layers")
    assert not list(out.glob(".*"))
    assert resumed["film"] | {"ms_per_frame": 0} == row["film"] | {"ms_per_frame": 0}
    for name in ("film.mp4", "film.mp4.color.mkv"):
        assert films.read_packets(straight / name, "video") == films.read_packets(out / name, "video")
    before = (out / "film.mp4").stat().st_mtime_ns
    assert "film" not in restore(path, "--out", out, "--layers")
    assert (out / "film.mp4").stat().st_mtime_ns == before  # it was there already
    command = [*COMMAND[:-1], "render", str(path), "--layers", str(out / "film.mp4.json")]
    command += ["--out", str(tmp_path / "a.mp4")]
    subprocess.run(command, check=True, env=ENVIRONMENT, capture_output=True)
    assert films.read_packets(tmp_path / "a.mp4", "video") == films.read_packets(out / "film.mp4", "video")


def test_another_recipe_starts_afresh(tmp_path: Path) -> None:
    path = films.write(tmp_path / "film.mp4", films.pan(films.gray_photo("coffee"), 26), sound=None)
    out = tmp_path / "out"
    left = set(kill_restoration(path, out, when=1))
    assert restore(path, "--out", out, "--gain", 2)["status"] == "restored"
    assert set(list_segments(out)) == left  # the first recipe may still be wanted


def measure_peak_mib(path: Path, out: Path) -> float:
    """Restore a film without networks; return the peak memory of any of its processes, in MiB."""
    keep = ["--colorizer", "keep", "--defader", "keep"]
    peak = 0
    with subprocess.Popen([*COMMAND, str(path), "--out", str(out), *keep], env=ENVIRONMENT) as process:
        while process.poll() is None:
            with suppress(psutil.NoSuchProcess):
                here = psutil.Process(process.pid)
                peak = max(peak, *(each.memory_info().rss for each in [here, *here.children(recursive=True)]))
            time.sleep(0.02)
    assert process.returncode == 0
    return peak / (1 << 20)


def test_memory_does_not_grow_with_the_film(tmp_path: Path) -> None:
    frames = list(films.pan(films.gray_photo("coffee"), 60, (320, 240)))
    short = films.write(tmp_path / "short.mp4", frames, sound=None, options={"preset": "ultrafast"})
    long = films.write(tmp_path / "long.mp4", frames * 10, sound=None, options={"preset": "ultrafast"})
    peaks = [measure_peak_mib(path, tmp_path / "out") for path in (short, long)]
    assert peaks[1] - peaks[0] < 40  # 540 frames more would be 124 MiB
