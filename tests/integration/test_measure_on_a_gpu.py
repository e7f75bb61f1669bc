"""The script that measures the networks on a GPU, tried on a CPU in a small way."""

import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from tests.gpu import measure, meters
from tests.paths import REFERENCE, ROOT

CARDS = f"# Cards\n\n{measure.BEGIN}\nOld.\n{measure.END}\n\nThe end.\n"


@pytest.mark.timeout(1200)  # three processes start, and other tests run beside it
@pytest.mark.skipif(not REFERENCE.exists(), reason=f"needs the original's outputs at {REFERENCE}")
def test_all_of_it_is_measured_and_the_section_replaced(tmp_path: Path) -> None:
    cards = tmp_path / "README.md"
    cards.write_text(CARDS)
    options = ["--device", "cpu", "--quick", "--minutes", "60", "--cards", str(cards)]
    command = [sys.executable, "-m", "tests.gpu.measure", *options]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    text = cards.read_text()
    assert "Not measured" not in text, text
    assert text.startswith(f"# Cards\n\n{measure.BEGIN}\nCPU, ")
    assert text.endswith(f"\n{measure.END}\n\nThe end.\n")
    assert "Old." not in text
    for what in (
        "| `compact` | float32 |",
        "| `compact-defade` | float32 |",
        "| lab-resnet18, tutorial |",
        "One worker,",
    ):
        assert what in text
    assert "**!**" not in text


def test_a_part_without_time_and_one_that_fails_are_named_and_cost_no_other(tmp_path: Path) -> None:
    run = measure.Measurement("cpu", measure.QUICK, ends_at=0, folder=tmp_path)
    run.attempt("a long one", 10, lambda: pytest.fail("it was tried"))
    run.ends_at = float("inf")

    def fail() -> None:
        raise ValueError("no such thing\nand more")

    run.attempt("a broken one", 10, fail)
    run.attempt("training", 10, lambda: measure.train(run, tmp_path, tmp_path, tmp_path))
    run.attempt("a sound one", 10, lambda: run.tell("measured"))
    assert run.missing[:2] == ["a long one: no time was left", "a broken one: ValueError: no such thing"]
    assert run.missing[2:] == [f"training: FileExistsError: {tmp_path} is there; name another folder with --run"]
    assert run.lines == ["measured"]


def test_how_busy_a_gpu_is_is_sampled_from_its_drivers_program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = tmp_path / "nvidia-smi"
    program.write_text(
        '#!/bin/sh\nprintf "0\\n0\\n50\\n100\\n[N/A]\\n0\\n90\\n0\\n"\necho "$@" >"$0.asked"\nexec sleep 60\n'
    )
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    monkeypatch.setattr(meters, "is_gpu", lambda device: device == "cuda")
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda _: SimpleNamespace(uuid="3c1f"))
    with meters.Busyness("cuda") as busyness:
        deadline = time.monotonic() + 60
        while not program.with_suffix(".asked").exists() and time.monotonic() < deadline:
            time.sleep(0.05)
    assert busyness.share == 0.6, "from the first sample at work to the last"
    assert "--id=GPU-3c1f" in program.with_suffix(".asked").read_text()
    with meters.Busyness("cpu") as nothing:
        pass
    assert nothing.share is None


@pytest.mark.parametrize("text", ["", CARDS + CARDS, f"{measure.END}\n{measure.BEGIN}\n"])
def test_cards_without_their_marks_are_not_written(tmp_path: Path, text: str) -> None:
    cards = tmp_path / "README.md"
    cards.write_text(text)
    with pytest.raises(ValueError, match="needs one line <!-- measured by"):
        measure.write_section(cards, ["new"])
    assert cards.read_text() == text
