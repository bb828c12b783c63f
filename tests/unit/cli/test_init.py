"""`edged init`: a scaffold that `check` takes once every question in it is answered, and not before."""

from __future__ import annotations

import os
import re
import shutil
from pathlib import Path

import pytest
from fake_daemon import Machine, edged, machine

from edged.bench.swap import prepare_versions
from edged.bundle.bundle import read_bundle
from edged.bundle.cell_check import hints, misfits
from edged.bundle.store import Store, shipped_store
from edged.config import load_config
from edged.core.errors import EXIT_OK, EXIT_USAGE

__all__ = ["machine"]

ANSWERS = {
    "uri": '"/dev/video0"', "endpoint": '"ipc:///run/x"', "codec": '"json"', "width": "640", "height": "480",
    "fps": "30", "max_count": "0",
    "min": "-1", "max": "1", "velocity": "1", "following_error": "0.1", "measured": '"sensor:joints"',
}  # fmt: skip


def answered(text: str) -> str:
    return re.sub(r'(\w+) = "\?"', lambda found: f"{found[1]} = {ANSWERS[found[1]]}", text)


@pytest.mark.parametrize("engine", ["reach", "reach-lstm", "plate"])
def test_check_names_what_is_open_and_takes_what_is_answered(
    machine: Machine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, engine: str
) -> None:
    monkeypatch.chdir(tmp_path)
    done = edged("init", engine)
    file = tmp_path / f"{engine}.toml"
    text = file.read_text(encoding="utf-8")
    said = int(re.findall(r"(\d+) questions", done.out)[0])
    assert (done.code, said) == (EXIT_OK, re.sub(r"#.*", "", text).count('= "?"'))
    checked = edged("check", file)
    assert checked.code == EXIT_USAGE
    assert checked.out.count("still open") == said
    assert edged("run", file).code == EXIT_USAGE
    file.write_text(answered(text), encoding="utf-8")
    config = load_config(file)
    manifest = Store(shipped_store()).read(engine, "current").manifest
    assert misfits(manifest, config) == []
    assert not [hint for hint in hints(manifest, config) if "another rate" in hint]
    assert config.engine.name == engine


@pytest.mark.parametrize(("engine", "rules"), [("plate", 3), ("parts", 5), ("reach", 0)])
def test_a_segmenter_gets_a_rule_for_each_class_that_counts_once_it_is_wanted(
    machine: Machine, tmp_path: Path, engine: str, rules: int
) -> None:
    file = tmp_path / "line.toml"
    assert edged("init", engine, "-o", file).code == EXIT_OK
    text = file.read_text(encoding="utf-8")
    assert text.count("# [[inspection.rules]]") == rules
    if not rules:
        assert "inspection" not in text
        return
    head, found, tail = text.partition("# [inspection]")
    wanted, bus, rest = (found + tail).partition("[bus]")
    text = head + re.sub(r"^# ", "", wanted, flags=re.MULTILINE) + bus + rest
    file.write_text(text, encoding="utf-8")
    assert edged("check", file).out.count("max_count = '?': still open") == rules
    file.write_text(answered(text), encoding="utf-8")
    config = load_config(file)
    manifest = Store(shipped_store()).read(engine, "current").manifest
    counted = [(name,) for name in manifest.classes if name != "background"]
    assert [rule.classes for rule in config.inspection.rules] == counted
    assert misfits(manifest, config) == []


def test_one_question_left_is_named_with_what_is_allowed(machine: Machine, tmp_path: Path) -> None:
    file = tmp_path / "line.toml"
    assert edged("init", "plate", "-o", file).code == EXIT_OK
    text = answered(file.read_text(encoding="utf-8")).replace("fps = 30", 'fps = "?"')
    file.write_text(text, encoding="utf-8")
    out = edged("check", file).out
    assert out.startswith(f"error   config: {file}: cameras.line.fps = '?': still open; >= 0.001 and <= 1000")
    assert out.endswith("1 error\n")
    file.write_text(answered(text).replace('uri = "/dev/video0"', 'uri = "?"'), encoding="utf-8")
    assert "cameras.line.uri = '?': still open" in edged("check", file).out
    assert "still open" not in edged("check", file, "--set", "cameras.line.uri=x.mp4").out


def test_a_file_is_not_written_over_and_has_to_name_a_daemon(machine: Machine, tmp_path: Path) -> None:
    file = tmp_path / "arm.toml"
    file.write_text("mine", encoding="utf-8")
    done = edged("init", "reach", "-o", file)
    assert (done.code, file.read_text(encoding="utf-8")) == (EXIT_USAGE, "mine")
    assert "--force" in done.err
    assert edged("init", "reach", "-o", file, "--force").code == EXIT_OK
    for name in ("Arm.toml", "arm.conf", "nowhere/arm.toml"):
        assert edged("init", "reach", "-o", tmp_path / name).code == EXIT_USAGE


def test_of_several_versions_the_one_that_was_named_is_written_down(machine: Machine, tmp_path: Path) -> None:
    store = tmp_path / "store"
    shutil.copytree(shipped_store() / "plate" / "1", store / "plate" / "1")
    shutil.move(*prepare_versions(tmp_path, read_bundle(store / "plate" / "1"), 1), store / "plate" / "2")
    told = edged("init", "plate", "--store", store)
    assert told.code != EXIT_OK
    assert 'choose one of them: plate/2, in a config [engine] version = "2"' in told.err
    file = tmp_path / "line.toml"
    assert edged("init", "plate/1", "--store", store, "-o", file).code == EXIT_OK
    assert 'version = "1"' in file.read_text(encoding="utf-8")
    (store / "plate" / "current").symlink_to("2")
    assert edged("init", "plate/2", "--store", store, "-o", file, "--force").code == EXIT_OK
    assert "version =" not in file.read_text(encoding="utf-8")


@pytest.mark.parametrize(("mine", "suggested"), [({0, 2, 5}, "# cpus = [5]  #"), ({4}, "")])
def test_a_processor_of_its_own_is_one_that_is_here(
    machine: Machine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mine: set[int], suggested: str
) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: mine)
    assert edged("init", "reach", "-o", tmp_path / "pick.toml").code == EXIT_OK
    text = (tmp_path / "pick.toml").read_text(encoding="utf-8")
    assert suggested in text
    assert ("cpus" in text) == bool(suggested)
