"""Bad engines, dropped onto a daemon at work: each is refused or rolled back with its reason, and none commands."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from onnx import TensorProto
from rig import Rig, rig
from signing import sign_bundle
from swap_engines import (
    AXES,
    NAME,
    WIDTH,
    constant,
    crashing,
    files,
    golden,
    hanging_above,
    hungry,
    model,
    not_a_number_above,
    put,
    replaced,
    slow,
)
from swaps import QUICK, Cell, gaps, open_cell
from waiting import until

from edged.bundle.bundle import write_archive
from edged.cli.keys import new_signing_key
from edged.wire import Kind

__all__ = ["rig"]

LOAD = f"{QUICK}\ntrial_memory_mb = 1500\ntrial_seconds = 20"


@pytest.fixture(scope="module")
def shared() -> Iterator[Cell]:
    with tempfile.TemporaryDirectory(prefix="rig") as name, contextlib.ExitStack() as stack:
        yield open_cell(Rig(Path(name), stack), swap=LOAD)


@pytest.fixture
def cell(shared: Cell) -> Iterator[Cell]:
    """The same daemon for every test of this file: after each it still runs an engine that was committed."""
    shared.feed.values = np.zeros(WIDTH)
    mark = shared.actions.mark()
    before = shared.running()
    yield shared
    shared.feed.values = np.zeros(WIDTH)
    heard = shared.actions.since(mark)
    assert gaps(heard) == [], "every tick published one verdict"
    for message in heard:
        if message.kind is Kind.ACTION:
            action = message.arrays["action"]
            assert np.isfinite(action).all()
            assert (np.abs(action) <= 3.2).all()
            assert message.valid_for_ns > 0
    committed = [line["version"] for line in shared.journal() if line["state"] == "committed"] or [before]
    assert shared.running() == committed[-1]
    if len(committed) > 1:
        assert str((shared.home / "current").readlink()) == committed[-1]


def refusal(cell: Cell, drop: str) -> str:
    """Why a drop never became an attempt, as told beside it."""
    note = cell.incoming / f"{drop}.refused"
    until(note.exists, 15, lambda: list(cell.incoming.iterdir()))
    return note.read_text().splitlines()[0]


def refused(cell: Cell, version: str) -> str:
    ended = cell.ended_of(version)
    assert ended["state"] == "refused", ended
    assert not (cell.home / version).exists(), "what was refused is no version"
    assert "refused" in cell.states(version)
    return str(ended["reason"])


def rolled_back(cell: Cell, version: str) -> str:
    ended = cell.ended_of(version)
    assert ended["state"] == "rolled_back", ended
    assert cell.running() == ended["from"]
    return str(ended["reason"])


def test_a_truncated_file(cell: Cell) -> None:
    content = files("truncated")
    content["model.onnx"] = content["model.onnx"][:-20]
    put(cell.incoming / "truncated", content)
    assert "model.onnx does not match SHA256SUMS" in refusal(cell, "truncated")
    whole = write_archive(cell.rig.folder / "whole.edged", files("truncated")).read_bytes()
    (cell.incoming / "truncated.edged").write_bytes(whole[: len(whole) // 2])
    assert "not complete after 1 s" in refusal(cell, "truncated.edged")


def test_a_flipped_bit(cell: Cell) -> None:
    for name in ("model.onnx", "golden.npz", "manifest.json"):
        content = files("flipped")
        flipped = bytearray(content[name])
        flipped[len(flipped) // 2] ^= 0x10
        put(cell.incoming / f"flipped-{name}", {**content, name: bytes(flipped)})
    for name in ("model.onnx", "golden.npz", "manifest.json"):
        assert f"{name} does not match SHA256SUMS" in refusal(cell, f"flipped-{name}")


@pytest.mark.parametrize(
    ("version", "changes", "reason"),
    [
        ("name", {"input": "joints"}, "the graph has no input 'state'"),
        ("shape", {"width": WIDTH + 1}, "input 'state' is float32[1, 16] in the graph"),
        ("dtype", {"dtype": TensorProto.DOUBLE}, "input 'state' is float64[1, 15] in the graph"),
        ("statistic", {"missing": "b"}, "ONNX Runtime does not load the graph"),
    ],
)
def test_a_graph_that_is_not_what_its_manifest_says(cell: Cell, version: str, changes: object, reason: str) -> None:
    put(cell.incoming / version, replaced(version, **changes))  # type: ignore[arg-type]
    assert reason in refused(cell, version)


def test_nan_on_golden_input(cell: Cell) -> None:
    put(cell.incoming / "nan-golden", files("nan-golden", model(not_a_number_above(-9.0)), golden(model())))
    assert "does not give its golden samples" in refused(cell, "nan-golden")


def test_nan_on_live_input_is_seen_in_the_shadow(cell: Cell) -> None:
    cell.feed.values = np.full(WIDTH, 9.0)
    put(cell.incoming / "nan-shadow", files("nan-shadow", model(not_a_number_above(5.0))))
    ended = cell.ended_of("nan-shadow")
    assert (ended["state"], cell.states("nan-shadow")[-2:]) == ("refused", ["shadow", "refused"])
    assert "in the shadow it gives Hold(NON_FINITE)" in ended["reason"]


def test_nan_on_later_live_input_ends_probation(cell: Cell) -> None:
    mark = cell.actions.mark()
    put(cell.incoming / "nan-live", files("nan-live", model(not_a_number_above(5.0))))
    cell.wait_state("probation")
    cell.feed.values = np.full(WIDTH, 9.0)
    assert "Hold(NON_FINITE) on probation" in rolled_back(cell, "nan-live")
    held = cell.actions.wait(lambda message: message.header.get("reason") == "NON_FINITE", mark)
    back = cell.actions.wait(lambda m: m.kind is Kind.ACTION and m.seq > held.seq, mark)
    assert back.engine != held.engine
    assert back.published_ns - held.published_ns < 1_000_000_000


def test_a_slower_engine(cell: Cell) -> None:
    put(cell.incoming / "slow", files("slow", model(slow(1000))))
    assert "median tick" in rolled_back(cell, "slow")


def test_a_constant_output(cell: Cell) -> None:
    put(cell.incoming / "constant", files("constant", model(constant)))
    ended = cell.ended_of("constant")
    assert ended["state"] == "refused"
    assert "its output never changes" in ended["reason"]


def test_an_engine_that_crashes_whoever_loads_it(cell: Cell) -> None:
    put(cell.incoming / "crash", crashing("crash"))
    assert "it crashed (SIGSEGV)" in refused(cell, "crash")


def test_an_engine_that_takes_too_much_memory(cell: Cell) -> None:
    put(cell.incoming / "hungry", files("hungry", model(hungry), golden(model())))
    assert "more memory than the 1500 MiB of a trial" in refused(cell, "hungry")


def test_a_copy_that_is_completed_later_and_one_that_never_is(cell: Cell) -> None:
    content = files("late", model(seed=11))
    model_bytes = content.pop("model.onnx")
    put(cell.incoming / "late", content)
    assert "model.onnx is missing" in refusal(cell, "late")
    (cell.incoming / "late" / "model.onnx").write_bytes(model_bytes)
    assert cell.ended_of("late")["state"] == "committed"
    until(lambda: list(cell.incoming.glob("late*")) == [])
    put(cell.incoming / "never", {"SHA256SUMS": content["SHA256SUMS"]})
    assert "not complete after 1 s without a change: golden.npz is missing" in refusal(cell, "never")


def test_two_drops_at_once_and_one_while_another_is_on_probation(cell: Cell) -> None:
    for version, seed in (("twin-a", 21), ("twin-b", 22)):
        cell.archive(files(version, model(seed=seed)), f"{version}.edged")
    cell.wait_state("probation")
    cell.archive(files("third", model(seed=23)), "third.edged")
    for version in ("twin-a", "twin-b", "third"):
        assert cell.ended_of(version)["state"] == "committed"
    order = [line["version"] for line in cell.journal() if line["state"] == "committed"][-3:]
    assert order == ["twin-a", "twin-b", "third"]
    assert cell.running() == "third"


def test_links_and_a_bare_network(cell: Cell) -> None:
    outside = put(cell.rig.folder / "outside", files("linked"))
    (cell.incoming / "linked").symlink_to(outside)
    assert "linked is a link" in refusal(cell, "linked")
    content = files("inner")
    content.pop("model.onnx")
    put(cell.incoming / "inner", content)
    (cell.incoming / "inner" / "model.onnx").symlink_to(outside / "model.onnx")
    assert "inner/model.onnx is a link" in refusal(cell, "inner")
    (cell.incoming / "best.onnx").write_bytes(model())
    assert f"edged pack {cell.incoming}/best.onnx --name {NAME}" in refusal(cell, "best.onnx")
    assert (outside / "model.onnx").exists()


def test_a_version_that_is_there_with_other_content(cell: Cell) -> None:
    running = cell.running()
    put(cell.incoming / "other", files(running, model(seed=99)))
    ended = until(lambda: cell.past(lambda attempt: "exists with other content" in attempt.get("reason", "")))
    assert (ended["version"], ended["state"]) == (running, "refused")


def test_a_wrong_signature(rig: Rig) -> None:
    trusted = rig.folder / "trusted"
    trusted.mkdir()
    ours, theirs = (new_signing_key(name, rig.folder / "keys") for name in ("ours", "theirs"))
    (trusted / "ours.pub").write_bytes(ours.public.read_bytes())
    engine = f"name = '{NAME}'\nrequire_signature = true\ntrusted = '{trusted}'"
    cell = open_cell(rig, engine=engine, signed=ours.secret)
    for version, key, reason in (
        ("strange", theirs.secret, "which is not trusted"),
        ("unsigned", None, "is not signed"),
        ("good", ours.secret, ""),
    ):
        folder = put(rig.folder / version, files(version, model(seed=AXES)))
        if key is not None:
            sign_bundle(folder, key)
        folder.rename(cell.incoming / version)
        ended = cell.ended_of(version)
        assert ended["state"] == ("refused" if reason else "committed")
        assert reason in ended.get("reason", "")
    (trusted / "ours.pub").unlink()  # withdrawn
    (trusted / "theirs.pub").write_bytes(theirs.public.read_bytes())
    ended = cell.ended(int(cell.daemon.ask("rollback", who="test")["job"]))
    assert ended["state"] == "refused", "what ran before and is in memory still is no exception"
    assert "which is not trusted" in ended["reason"]
    assert cell.running() == "good"


def test_an_engine_that_hangs_in_the_shadow_blocks_neither_other_swaps_nor_the_end(rig: Rig) -> None:
    """Its thread cannot be ended; what waits for it can stop waiting."""
    cell = open_cell(rig, swap=LOAD, execution="hang_ms = 1000")
    cell.feed.values = np.full(WIDTH, 9.0)
    mark = cell.actions.mark()
    put(cell.incoming / "hangs", files("hangs", model(hanging_above(5.0))))
    ended = cell.ended_of("hangs")
    assert (ended["state"], cell.states("hangs")[-2:]) == ("refused", ["shadow", "refused"])
    assert "hangs in the shadow hangs: it did not answer for 1 s" in ended["reason"]
    cell.feed.values = np.zeros(WIDTH)
    put(cell.incoming / "good", files("good", model(seed=4)))
    assert cell.ended_of("good")["state"] == "committed"
    assert gaps(cell.actions.since(mark)) == []
    assert cell.daemon.terminate() == 0


def test_an_engine_that_hangs_in_the_shadow_does_not_outlive_sigterm(rig: Rig) -> None:
    cell = open_cell(rig, swap=LOAD)
    cell.feed.values = np.full(WIDTH, 9.0)
    put(cell.incoming / "hangs", files("hangs", model(hanging_above(5.0))))
    cell.wait_state("shadow")
    assert cell.daemon.terminate() == 0
