"""`edged support`: everything is in it but secrets, and what could not be had is told."""

from __future__ import annotations

import json
import shutil
import tarfile
from pathlib import Path

import pytest
from fake_daemon import Machine, edged, machine

from edged.cli import support
from edged.core.errors import EXIT_OK

__all__ = ["machine"]

SECRETS = ("hunter2", "s3cr3tpath0123456789abcdef", "tok-99", "in-a-comment")
CONFIG = """
# in-a-comment
[cameras.tool]
uri = "rtsp://anna:hunter2@10.0.0.9/s3cr3tpath0123456789abcdef?token=tok-99"
width = 64
height = 48
[engine]
name = "reach"
"""


def unpacked(path: Path) -> dict[str, bytes]:
    with tarfile.open(path) as archive:
        found = {}
        for entry in archive.getmembers():
            file = archive.extractfile(entry)
            assert file is not None
            found[entry.name.partition("/")[2]] = file.read()
    return found


def test_nothing_secret_is_in_it(machine: Machine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EDGED_CAMERAS__TOOL__URI", "rtsp://anna:hunter2@10.0.0.9/")
    machine.service("pick", CONFIG)
    (machine.etc / "keys").mkdir()
    (machine.etc / "keys" / "pick.key_secret").write_text("hunter2", encoding="utf-8")
    bin_folder = tmp_path / "bin"
    bin_folder.mkdir()
    journalctl = bin_folder / "journalctl"
    journalctl.write_text("#!/bin/sh\necho 'camera tool: rtsp://anna:hunter2@10.0.0.9/x refused user=anna'\n"
                          "echo 'the server does not like hunter2; password=other1'\n")  # fmt: skip
    journalctl.chmod(0o755)
    monkeypatch.setenv("PATH", str(bin_folder), prepend=":")
    with machine.daemon(machine.run / "pick", "reach"):
        done = edged("support", "-o", tmp_path / "s.tar.gz")
    assert done.code == EXIT_OK, done.err
    files = unpacked(tmp_path / "s.tar.gz")
    everything = b"".join(files.values()).decode(errors="replace")
    for secret in (*SECRETS, "other1"):
        assert secret not in everything
    assert {"README.txt", "doctor.json", "versions.json", "engines.json", "pick/status.json", "pick/config.json",
            "pick/log.txt"} <= files.keys()  # fmt: skip
    assert json.loads(files["pick/config.json"])["cameras"]["tool"]["width"] == 64
    assert "10.0.0.9" in files["pick/config.json"].decode()
    assert (tmp_path / "s.tar.gz").stat().st_mode & 0o077 == 0


def test_what_could_not_be_had_is_told(machine: Machine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(support.shutil, "which", lambda name: None)
    machine.service("pick", CONFIG)
    with machine.daemon(machine.run / "place", "reach"):
        done = edged("support", "pick", "place", "-o", tmp_path / "s.tar.gz")
    assert done.code == EXIT_OK
    said = unpacked(tmp_path / "s.tar.gz")["README.txt"].decode()
    assert "missing: pick: no daemon answers to pick" in said
    assert "missing: pick/log.txt" in said
    assert "missing: place/history.json" in said
    assert "missing: place/config.json" in said
    assert edged("support", "-o", tmp_path / "no" / "s.tar.gz").code == 1


def test_of_a_name_that_nothing_is_known_of_there_is_none(machine: Machine, tmp_path: Path) -> None:
    done = edged("support", "nobody", "-o", tmp_path / "s.tar.gz")
    assert done.code == 1
    assert "no daemon answers to nobody" in done.err
    assert not (tmp_path / "s.tar.gz").exists()


def test_two_of_one_name_are_both_in_it(machine: Machine, tmp_path: Path) -> None:
    machine.service("pick", CONFIG)
    with machine.daemon(machine.run / "pick", "reach"), machine.daemon(machine.session / "pick", "plate"):
        assert edged("support", "-o", tmp_path / "s.tar.gz").code == EXIT_OK
        assert edged("support", machine.session / "pick", machine.run / "pick/", "-o", tmp_path / "t.tar.gz").code == 0
    for name, engines in (("s", ["reach", "plate"]), ("t", ["plate", "reach"])):
        files = unpacked(tmp_path / f"{name}.tar.gz")
        told = [json.loads(files[f"{folder}/status.json"])["engine"]["name"] for folder in ("pick", "pick-2")]
        assert told == engines
    assert "pick/config.json" in unpacked(tmp_path / "s.tar.gz"), "the service's"
    assert "pick-2/config.json" not in unpacked(tmp_path / "s.tar.gz")


def test_one_that_is_named_in_two_ways_is_in_it_once(machine: Machine, tmp_path: Path) -> None:
    machine.service("pick", CONFIG)
    with machine.daemon(machine.run / "pick", "reach"):
        assert edged("support", machine.run / "pick", "pick", "-o", tmp_path / "s.tar.gz").code == EXIT_OK
    folders = {name.partition("/")[0] for name in unpacked(tmp_path / "s.tar.gz") if "/" in name}
    assert {name for name in folders if name.startswith("pick")} == {"pick"}
    assert "pick/config.json" in unpacked(tmp_path / "s.tar.gz"), "which the folder alone does not tell"


def in_it(place: Path, name: str) -> set[str]:
    """Folders of daemons whose names begin so."""
    return {file.partition("/")[0] for file in unpacked(place) if file.startswith(name) and "/" in file}


@pytest.mark.parametrize("is_service", [True, False])
@pytest.mark.parametrize("backwards", [False, True])
def test_one_that_does_not_run_is_in_it_once(
    machine: Machine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, is_service: bool, backwards: bool
) -> None:
    store = machine.folder / "data" / "edged" / "engines"
    (store / ".history" / "pick").mkdir(parents=True)
    (tmp_path / "cell.toml").write_text(f"{CONFIG}\n[daemon]\nname = 'pick'\nstore = '{store}'\n", encoding="utf-8")
    file = machine.service("pick", CONFIG) if is_service else tmp_path / "cell.toml"
    monkeypatch.chdir(file.parent)
    for words in (["pick", file.name], [file, file.name], ["pick", "pick", file]):
        given = words[::-1] if backwards else words
        assert edged("support", *given, "-o", tmp_path / "s.tar.gz").code == EXIT_OK
        assert in_it(tmp_path / "s.tar.gz", "pick") == {"pick"}, given
        assert "pick/config.json" in unpacked(tmp_path / "s.tar.gz")


def test_two_that_do_not_run_are_both_in_it(machine: Machine, tmp_path: Path) -> None:
    for place in ("a", "b"):
        (tmp_path / place).mkdir()
        text = f"{CONFIG}\n[daemon]\nstore = '{tmp_path / place / 'store'}'\n"
        (tmp_path / place / "pick.toml").write_text(text, encoding="utf-8")
    files = [tmp_path / place / "pick.toml" for place in "ab"]
    assert edged("support", *files, "-o", tmp_path / "s.tar.gz").code == EXIT_OK
    assert in_it(tmp_path / "s.tar.gz", "pick") == {"pick", "pick-2"}
    (tmp_path / "a" / "store" / ".history" / "pick").mkdir(parents=True)
    shutil.copy(files[0], files[1])  # one store and name, in two files: an old one beside the new
    assert edged("support", *files, "-o", tmp_path / "s.tar.gz").code == EXIT_OK
    assert in_it(tmp_path / "s.tar.gz", "pick") == {"pick", "pick-2"}
