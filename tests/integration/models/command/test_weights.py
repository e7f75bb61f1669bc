"""`retint weights` and `retint networks` as a person uses them, on real files."""

import json
import subprocess
import sys
import threading
import tomllib
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner, Result
from PIL import Image
from tests import photographs
from tests.named_weights import reference_tensors, tensors_for
from tests.paths import REFERENCE

from retint.command.cli import retint as command
from retint_models.command import run_on_array
from retint_models.datasets.halves import half_of
from retint_models.networks import registry
from retint_models.networks.lab_resnet18 import TutorialNetwork


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A published file of `lab-resnet18`."""
    with torch.device("meta"):
        tensors = tensors_for(TutorialNetwork())
    path = tmp_path_factory.mktemp("published") / "model-epoch-93.pth"
    torch.save(tensors, path, _use_new_zipfile_serialization=False)
    return path


UNTOLD = "Whether they are official cannot be told: not every official file's SHA-256 is known."


@pytest.fixture(autouse=True)
def restore_threads() -> Iterator[None]:
    """Restore the number of threads: the command sets it for its process, which here is ours."""
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


def retint(*arguments: str | Path, folder: Path) -> Result:
    done = CliRunner().invoke(command, [str(argument) for argument in arguments], env={"RETINT_WEIGHTS": str(folder)})
    assert done.exception is None or isinstance(done.exception, SystemExit), done.exception
    return done


def test_weights_are_imported_listed_shown_run_and_verified(lab: Path, tmp_path: Path) -> None:
    before = retint("weights", "list", folder=tmp_path)
    assert before.exit_code == 0
    assert "lab-resnet18     colorizer  not installed" in before.stdout
    assert "`retint weights fetch lab-resnet18`" in before.stdout
    imported = retint("weights", "import", lab, "--as", "lab-resnet18", folder=tmp_path)
    assert imported.exit_code == 0, imported.stderr
    assert imported.stdout.startswith(f"lab-resnet18: 3.8 MB in {tmp_path}/lab-resnet18.safetensors. {UNTOLD}")
    assert "lab-resnet18     colorizer  installed, 3.8 MB" in retint("weights", "list", folder=tmp_path).stdout
    shown = retint("weights", "show", "lab-resnet18", folder=tmp_path).stdout
    assert "License     None known" in shown
    assert UNTOLD[:60] in shown
    assert "Parameters  954,722" in shown
    card = json.loads(retint("weights", "show", "lab-resnet18", "--json", folder=tmp_path).stdout)
    assert card["is_here"]
    np.save(tmp_path / "x.npy", np.random.default_rng(0).random((1, 1, 24, 16), np.float32))
    files: list[str | Path] = ["--input", tmp_path / "x.npy", "--output", tmp_path / "y.npy"]
    run = retint("networks", "run", "lab-resnet18", *files, folder=tmp_path)
    assert run.exit_code == 0, run.stderr
    answer = np.load(tmp_path / "y.npy")
    assert answer.shape == (1, 2, 24, 16)
    assert answer.dtype == np.float32
    direct = retint("networks", "run", "lab-resnet18", *files, "--weights", lab, folder=tmp_path / "empty")
    assert direct.exit_code == 0, direct.stderr
    assert np.array_equal(np.load(tmp_path / "y.npy"), answer)
    verified = retint("weights", "verify", folder=tmp_path)
    assert verified.exit_code == 0
    assert f"lab-resnet18: as its card says. {UNTOLD}" in verified.stdout
    assert "compact: as its card says. Part of Retint." in verified.stdout
    with (tmp_path / "lab-resnet18.safetensors").open("r+b") as damaged:
        damaged.truncate(1000)
    verified = retint("weights", "verify", folder=tmp_path)
    assert verified.exit_code == 1
    assert "is not the file that its card describes" in verified.stderr
    assert "compact: as its card says" in verified.stdout
    spoiled = retint("networks", "run", "lab-resnet18", *files, folder=tmp_path)
    assert spoiled.exit_code == 2
    assert "is not the file that its card describes" in spoiled.stderr


def test_weights_are_fetched_from_an_address(lab: Path, tmp_path: Path) -> None:
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(SimpleHTTPRequestHandler, directory=lab.parent)) as server:
        threading.Thread(target=server.serve_forever).start()
        address = f"http://127.0.0.1:{server.server_port}/{lab.name}"
        fetched = retint("weights", "fetch", "lab-resnet18", "--from", address, folder=tmp_path)
        wrong = retint("weights", "fetch", "video", "--from", address, folder=tmp_path)
        server.shutdown()
    assert fetched.exit_code == 0, fetched.stderr
    assert fetched.stdout.startswith(f"lab-resnet18: 3.8 MB in {tmp_path}/lab-resnet18.safetensors. {UNTOLD}")
    assert wrong.exit_code == 2
    assert "these are the weights of lab-resnet18" in wrong.stderr
    assert sorted(path.name for path in tmp_path.iterdir()) == ["lab-resnet18.safetensors", "lab-resnet18.toml"]


def test_the_hub_may_be_a_mirror_and_undisclosed_data_must_be_accepted(tmp_path: Path) -> None:
    handler = partial(SimpleHTTPRequestHandler, directory=tmp_path)  # it has nothing, and says what it was asked for
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever).start()
        mirror = f"http://127.0.0.1:{server.server_port}"
        by_option = retint("weights", "fetch", "ddcolor", "--hub", mirror, folder=tmp_path)
        runner, artistic = CliRunner(), ["weights", "fetch", "ddcolor-artistic", "--folder", str(tmp_path / "weights")]
        refused = runner.invoke(command, artistic, env={"HF_ENDPOINT": mirror})
        accepted = runner.invoke(command, [*artistic, "--accept-undisclosed-data"], env={"HF_ENDPOINT": mirror})
        server.shutdown()
    place = f"{mirror}/piddnad/ddcolor_modelscope/resolve/060f67494e31883a4b13cb27f889f3154847ada4/pytorch_model.bin"
    assert f"{place} answers 404" in by_option.stderr
    assert "nobody can tell whose they are. To use ddcolor-artistic all the same, give --accept" in refused.stderr
    assert f"{mirror}/piddnad/ddcolor_artistic/resolve/aa10f72fffc89a6658e37b48556050b4d9a26f63" in accepted.stderr
    assert [done.exit_code for done in (by_option, refused, accepted)] == [2, 2, 2]


def test_a_hostile_file_is_refused_by_the_command(tmp_path: Path) -> None:
    (tmp_path / "evil.pth").write_bytes(b"cposix\nsystem\n(S'touch " + bytes(tmp_path / "was-run") + b"'\ntR.")
    done = retint("weights", "import", tmp_path / "evil.pth", "--as", "artistic", folder=tmp_path / "weights")
    assert done.exit_code == 2
    assert "evil.pth asks for posix.system" in done.stderr
    assert not (tmp_path / "was-run").exists()


def test_a_server_that_is_away_has_an_exit_status_of_its_own(tmp_path: Path) -> None:
    done = retint("weights", "fetch", "artistic", "--from", "http://127.0.0.1:9/x.pth", folder=tmp_path)
    assert done.exit_code == 3
    assert "127.0.0.1 does not answer" in done.stderr


@pytest.mark.parametrize(
    ("name", "array", "says"),
    [
        ("artistic", np.zeros((1, 3, 4, 4), np.float32), "Get them with `retint weights fetch artistic`"),
        ("sepia", np.zeros(1, np.float32), "no network 'sepia' can be run on an array; there are artistic"),
        ("lab-resnet18", np.zeros((1, 1, 8, 8)), "expected a float32 array, not float64"),
        ("lab-resnet18", np.zeros((1, 3, 8, 8), np.float32), r"expected the shape (N, 1, H, W), not (1, 3, 8, 8)"),
        ("lab-resnet18", np.zeros((8, 8), np.float32), r"expected the shape (N, 1, H, W), not (8, 8)"),
        ("lab-resnet18", np.full((1, 1, 8, 8), 255, np.float32), "expected values between 0 and 1"),
        ("lab-resnet18", np.full((1, 1, 8, 8), np.nan, np.float32), "expected values between 0 and 1"),
        ("lab-resnet18", np.array([{}]), "is no .npy file of numbers"),
    ],
)
def test_an_array_that_does_not_fit_is_refused_in_a_sentence(
    lab: Path, tmp_path: Path, name: str, array: np.ndarray, says: str
) -> None:
    np.save(tmp_path / "x.npy", array, allow_pickle=True)
    file = lab if name == "lab-resnet18" else None
    with pytest.raises((ValueError, FileNotFoundError)) as refused:
        run_on_array.run_on_array(name, tmp_path / "x.npy", tmp_path / "y.npy", weights_file=file, imported=tmp_path)
    assert says in str(refused.value)
    assert not (tmp_path / "y.npy").exists()


def test_the_command_gives_what_the_original_gives(tmp_path: Path) -> None:
    if not REFERENCE.exists():
        pytest.skip(f"needs the original's outputs at {REFERENCE}")
    held = {"model": reference_tensors("artistic"), "opt": {"param_groups": [{"lr": slice(None, 0.003, None)}]}}
    torch.save(held, tmp_path / "ColorizeArtistic_gen.pth", _use_new_zipfile_serialization=False)
    arguments: list[str | Path] = [
        "--weights",
        tmp_path / "ColorizeArtistic_gen.pth",
        "--output",
        tmp_path / "y.npy",
        "--threads",
        "1",
    ]
    run = retint(
        "networks", "run", "artistic", "--input", REFERENCE / "input_1x3x64x64.npy", *arguments, folder=tmp_path
    )
    assert run.exit_code == 0, run.stderr
    theirs = np.load(REFERENCE / "artistic.output_1x3x64x64.npy")
    assert torch.get_num_threads() == 1
    assert np.abs(np.load(tmp_path / "y.npy") - theirs).max() <= 1e-4


def test_a_confidence_is_fitted_by_one_half_and_judged_by_the_other(tmp_path: Path) -> None:
    for number in range(4):
        Image.fromarray(photographs.color_photo(number, 96)).save(tmp_path / f"{number}.png")
    assert {half_of(f"{number}.png") for number in range(4)} == {"choose", "judge"}
    done = retint("weights", "calibrate", tmp_path, "--threads", "1", folder=tmp_path)
    assert done.exit_code == 0, done.stderr
    first, *tables = done.stdout.splitlines()
    assert set(tomllib.loads(first)["calibration"]) == {"error", "chroma"}
    for name in ("compact", "compact-vivid"):
        assert sum(line.startswith(f"{name}, ") for line in tables) == 2, "as the network says, and calibrated"
    assert sum(line.startswith("gap") for line in tables) == 4
    file = ("--weights", registry.card("compact").path)
    assert retint("weights", "calibrate", tmp_path, *file, "--threads", "1", folder=tmp_path).stdout == done.stdout
    lost = retint("weights", "calibrate", tmp_path, "--weights", tmp_path / "0.png", folder=tmp_path)
    assert lost.exit_code == 2
    assert "0.png" in lost.stderr


def test_the_command_lists_shows_and_verifies_weights() -> None:
    def weights(*arguments: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "retint", "weights", *arguments]
        return subprocess.run(command, capture_output=True, text=True, timeout=100)

    assert "compact-vivid" in weights("list").stdout
    assert json.loads(weights("show", "compact", "--json").stdout)["license"] == "Apache-2.0"
    assert weights("verify").returncode == 0
    unknown = weights("show", "sepia")
    assert unknown.returncode == 2
    assert "no network is called 'sepia'; there are compact" in unknown.stderr
