"""The file of `edged camera`: what is wrong in it is told as of a daemon's config."""

from __future__ import annotations

from pathlib import Path

import pytest

from edged.config.cameras import load_cameras
from edged.core.errors import ConfigError

CAMERA = '[cameras.line]\nuri = "0"\nwidth = 640\nheight = 480\nfps = 5\n'


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (CAMERA.replace("640", '"wide"'), "cameras.line.width = 'wide': allowed is >= 16 and <= 8192"),
        (CAMERA + "fsp = 3\n", "cameras.line.fsp = 3: unknown key; known are uri, width"),
        (CAMERA + "[loop]\nrate_hz = 5\n", "loop = {'rate_hz': 5}: unknown key; known are cameras, share"),
        (CAMERA + "[share]\nslots = 1\n", "share.slots = 1: allowed is >= 3 and <= 64"),
        (CAMERA.replace("line", '"a b"'), "name cameras.a b = 'a b': allowed is lower-case letters"),
        ("[share]\nslots = 3\n", "cameras: missing"),
    ],
)
def test_each_fault_is_told_in_plain_words(tmp_path: Path, text: str, told: str) -> None:
    path = tmp_path / "cameras.toml"
    path.write_text(text)
    with pytest.raises(ConfigError) as error:
        load_cameras(path)
    (line,) = str(error.value).splitlines()
    assert line.startswith(f"{path}: {told}")


def test_a_sound_file_is_read(tmp_path: Path) -> None:
    path = tmp_path / "cameras.toml"
    path.write_text(CAMERA + "[share]\nslots = 8\n")
    assert (list(load_cameras(path).cameras), load_cameras(path).share.slots) == (["line"], 8)
