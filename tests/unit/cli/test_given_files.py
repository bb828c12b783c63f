"""A file that is named and cannot be read: one sentence with its path, in words, and exit 2 where it is not there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from pack_models.segmenters import segformer
from typer.testing import CliRunner

from edged.cli.commands import app
from edged.core.errors import EdgedError, RefusedError, UsageError
from edged.pack.statfile import read_statistics

SAMPLES = (
    "pack model.onnx --name x --version 1 --task semantic --classes none,red,green,blue --channels rgb --pixels 0..1 "
    "--mean 0.485,0.456,0.406 --std 0.229,0.224,0.225 --resize stretch --interpolation linear --camera line --golden {}"
)
COMMANDS = {
    "pack {} --name x": ".onnx",
    "pack recipe.toml": "",
    SAMPLES: ".npz",
    "pack model.onnx --name x --lerobot {}": "",
    "verify {}": ".edged",
    "init {}": ".edged",
    "pack {} --upgrade": ".edged",
    "replay {}": ".mcap",
    "status tcp://127.0.0.1:1 --server-key {} --key {}": ".key",
}


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "model.onnx").write_bytes(segformer())
    (tmp_path / "file").write_text("of no kind")
    return tmp_path


def said(command: str) -> tuple[int, str]:
    done = CliRunner().invoke(app, command.split())
    if isinstance(done.exception, EdgedError):
        return done.exception.exit_code, str(done.exception)
    assert isinstance(done.exception, SystemExit), done.exception
    return done.exit_code, done.output


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize("kind", ["absent", "folder", "below a file", "loop"])
def test_what_cannot_be_read_is_told_in_words(place: Path, command: str, kind: str) -> None:
    name = ("file/x" if kind == "below a file" else "named") + COMMANDS[command]
    if kind == "folder":
        (place / name).mkdir()
    elif kind == "loop":
        (place / name).symlink_to(name)
    (place / "recipe.toml").write_text(f'model = "{name}"\nname = "x"\n')
    code, text = said(command.format(name, name))
    assert not re.search(r"Errno|Error\b|Traceback|Aborted", text), text
    assert Path(name).name.split(".")[0] in text
    assert code == 2 or (kind == "folder" and ".edged" in name), text  # which is an engine's folder that lacks all


@pytest.mark.parametrize("suffix", [".json", ".npz", ".safetensors"])
def test_statistics_that_cannot_be_read_are_told_in_words(place: Path, suffix: str) -> None:
    with pytest.raises(UsageError, match=rf"cannot read the statistics .*named{suffix}: No such file or directory;"):
        read_statistics(place / f"named{suffix}")
    (place / f"named{suffix}").touch()
    with pytest.raises(RefusedError, match=rf"cannot read the statistics .*named{suffix}: "):
        read_statistics(place / f"named{suffix}")


def test_an_empty_file_is_no_model_and_holds_no_samples(place: Path) -> None:
    for name in ("empty.onnx", "empty.npz"):
        (place / name).touch()
    assert said("pack empty.onnx --name x")[0] == 3
    assert "no outputs" in said("pack empty.onnx --name x")[1]
    code, text = said(SAMPLES.format("empty.npz"))
    assert (code, "cannot read the samples empty.npz: " in text) == (2, True)
