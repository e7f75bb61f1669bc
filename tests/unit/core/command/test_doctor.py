"""`retint doctor` on weights: those that ship, and those that somebody imported."""

import hashlib
from pathlib import Path

from retint.command import doctor
from retint.settings import Settings


def test_weights_that_are_here_are_checked_and_those_that_nobody_wanted_are_not(tmp_path: Path) -> None:
    for name, record in {"artistic": hashlib.sha256(b"weights").hexdigest(), "stable": "0" * 64, "video": ""}.items():
        (tmp_path / f"{name}.safetensors").write_bytes(b"weights")
        if record:
            (tmp_path / f"{name}.toml").write_text(f'sha256 = "{record}"\n')
    found = {check.name: check for check in doctor._check_weights(Settings(weights=tmp_path))}
    shipped = {f"weights of {name}" for name in ("compact", "compact-vivid", "compact-defade")}
    assert found.keys() == shipped | {"weights of artistic", "weights of stable", "weights of video"}
    assert {name for name, check in found.items() if check.ok} == shipped | {"weights of artistic"}
    assert found["weights of stable"].finding == "checksum differs"
    assert found["weights of stable"].remedy == "retint weights fetch stable"
    assert found["weights of video"].finding == "missing, or without a record of their import"
