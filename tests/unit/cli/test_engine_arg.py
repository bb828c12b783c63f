"""One locator for engines: the store of whoever runs it, never another engine that happens to have its name."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from fake_daemon import Machine, as_outsider, edged, engine_store, machine

from edged.bench import ENGINES
from edged.bundle.store import shipped_store
from edged.cli.engine_arg import find_engine
from edged.core.errors import EngineError, UsageError

__all__ = ["machine"]

REACH = shipped_store() / "reach"


def test_beside_a_service_its_engine_is_meant(machine: Machine) -> None:
    with machine.daemon(machine.run / "pick", store=engine_store(machine.lines), version="9"):
        found = find_engine("reach")
        assert found.path == machine.lines / "reach" / "9"
        assert found.cache == machine.folder / "cache"
        assert find_engine("reach/9").path == found.path
        done = edged("verify", "reach")
        assert done.code == 3, "it is a copy under a wrong version, and the shipped one is not"
        assert f"{machine.lines}/reach/9 holds reach 1" in done.out


def test_a_daemon_is_what_it_runs(machine: Machine) -> None:
    with machine.daemon(machine.run / "pick", store=engine_store(machine.lines, "8", "9"), version="8") as runtime:
        for word in ("pick", str(machine.service("pick")), f"{runtime}/"):
            assert find_engine(word).path == machine.lines / "reach" / "8", word


def test_a_file_whose_daemon_does_not_run_is_what_it_says(machine: Machine) -> None:
    path = machine.service("pick", f"[daemon]\nstore = '{engine_store(machine.lines)}'\n[engine]\nname = 'reach'\n")
    found = find_engine(str(path))
    assert found.path == machine.lines / "reach" / "9"
    assert found.cache == machine.cache
    assert find_engine("reach").path == found.path, "and its store is known by name as well"


def test_a_daemon_that_does_not_say_where_its_store_is_has_a_file(machine: Machine) -> None:
    machine.service("pick", f"[daemon]\nstore = '{engine_store(machine.lines)}'\n[engine]\nname = 'reach'\n")
    with machine.daemon(machine.run / "pick", version="9"):
        assert find_engine("reach").path == machine.lines / "reach" / "9"
        assert find_engine("pick").path == machine.lines / "reach" / "9"


def test_a_service_without_a_store_of_its_own_has_systemds(machine: Machine) -> None:
    machine.service("pick")
    engine_store(machine.state / "engines")
    assert find_engine("reach").path == machine.state / "engines" / "reach" / "9"


def test_two_stores_are_not_guessed_between(machine: Machine) -> None:
    own = engine_store(machine.folder / "data" / "edged" / "engines")
    assert find_engine("reach").path == own / "reach" / "9"
    with machine.daemon(machine.run / "pick", store=engine_store(machine.lines)):
        with pytest.raises(UsageError, match=r"yours.*pick") as caught:
            find_engine("reach")
        assert "--store" in caught.value.remedy
        assert find_engine("reach", own).path == own / "reach" / "9"
    with machine.daemon(machine.run / "pick", store=own):
        assert find_engine("reach").path == own / "reach" / "9", "the same store twice is one"


def test_without_anybody_it_is_what_comes_with_edged(machine: Machine) -> None:
    assert find_engine("reach").path.parent == REACH
    with machine.daemon(machine.run / "pick", engine="bench-state", store=ENGINES):
        assert find_engine("reach").path.parent == REACH


def test_a_path_wins_and_other_files_say_what_they_are(machine: Machine, tmp_path: Path) -> None:
    with machine.daemon(machine.run / "pick", store=engine_store(machine.lines)):
        assert find_engine(str(REACH / "1")).path == REACH / "1"
        assert find_engine(str(REACH / "1")).home is None
    (tmp_path / "model.onnx").write_bytes(b"graph")
    with pytest.raises(UsageError, match="without a manifest"):
        find_engine(str(tmp_path / "model.onnx"))
    with pytest.raises(UsageError, match="holds no engine"):
        find_engine(f"{tmp_path}/")


@pytest.mark.parametrize("word", ["nothing", "nothing/3", "reach/77"])
def test_what_no_store_knows(machine: Machine, word: str) -> None:
    with pytest.raises(EngineError, match=r"no engine 'nothing'|no version '77'"):
        find_engine(word)


def test_verify_infer_and_build_say_the_same(machine: Machine, tmp_path: Path) -> None:
    picture = tmp_path / "in.png"
    picture.write_bytes((Path(__file__).parents[3] / "examples" / "plate" / "plate.jpg").read_bytes())
    for word in ("nothing/3", str(tmp_path) + "/", "nowhere.toml"):
        said = [
            edged("build", word).err,
            edged("infer", word, picture).err,
            edged("verify", word).err or edged("verify", word).out.replace("files  failed   ", "edged: "),
        ]
        texts = {text.splitlines()[0].partition(";")[0] for text in said}
        assert len(texts) == 1, said


def test_engines_lists_the_services_too(machine: Machine) -> None:
    with machine.daemon(machine.run / "pick", store=engine_store(machine.lines)):
        listed = json.loads(edged("engines", "--json").out)
    (entry,) = (entry for entry in listed if entry["name"] == "reach")
    assert (entry["version"], entry["store"]) == ("9", str(machine.lines))
    assert [entry["name"] for entry in listed].count("plate") == 1


def test_who_may_not_look_is_not_shown_another_engine(machine: Machine) -> None:
    machine.service("pick")
    with machine.daemon(machine.run / "pick", store=engine_store(machine.state / "engines")):
        by_name, by_daemon, listed, shipped = as_outsider(
            machine,
            [
                ["verify", "reach"],
                ["verify", "pick"],
                ["engines"],
                ["infer", "plate", "nowhere.png", "--store", str(shipped_store())],
            ],
        )
    assert by_name.code == 2
    assert "whose reach is meant is not known: you may not use" in by_name.err
    assert f"--store {shipped_store()}" in by_name.err
    for one in (by_name, by_daemon):
        assert one.err.count("\n") == 1
        assert one.out == ""
    assert "not listed: you may not" in listed.err
    assert "nowhere.png cannot be read" in shipped.err
