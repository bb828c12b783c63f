"""A plan is found where it belongs and nowhere else, whole or not at all."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from edged.core.errors import EngineError
from edged.engine.device import Device
from edged.engine.plan_cache import BuildOptions, Plans, key_parts, plan_key

DEVICE = Device("NVIDIA Pretend 1", "8.7", 16, 8192, "L4T 36.4.3", True)
DIGEST = hashlib.sha256(b"an engine").digest()
PARTS = key_parts(DIGEST, "10.3.0", DEVICE, BuildOptions())
SUPPORT = str(Path(__file__).parents[2] / "support")
ABOUT = {"name": "reach", "version": "1"}


@pytest.fixture
def plans(tmp_path: Path) -> Plans:
    return Plans(tmp_path / "plans")


def test_what_is_saved_is_loaded(plans: Plans) -> None:
    assert plans.load(PARTS) is None
    saved = plans.save(PARTS, b"a plan", ABOUT)
    loaded = plans.load(PARTS)
    assert loaded is not None
    assert (loaded.data, loaded.key, loaded.about) == (b"a plan", saved.key, saved.about)
    about = json.loads((plans.folder / f"{saved.key}.json").read_text())
    assert (about["sha256"], about["name"]) == (hashlib.sha256(b"a plan").hexdigest(), "reach")
    assert sorted(path.suffix for path in plans.folder.iterdir()) == [".json", ".plan"]


@pytest.mark.parametrize(
    "other",
    [
        key_parts(hashlib.sha256(b"another").digest(), "10.3.0", DEVICE, BuildOptions()),
        key_parts(DIGEST, "10.16.1", DEVICE, BuildOptions()),
        *[
            key_parts(DIGEST, "10.3.0", dataclasses.replace(DEVICE, **{field: value}), BuildOptions())
            for field, value in {
                "name": "NVIDIA Pretend 2",
                "capability": "8.9",
                "multiprocessors": 8,
                "memory_mib": 4096,
                "driver": "L4T 36.4.4",
            }.items()
        ],
        *[
            key_parts(DIGEST, "10.3.0", DEVICE, dataclasses.replace(BuildOptions(), **{field: value}))
            for field, value in {
                "optimization_level": 5,
                "workspace_mib": 512,
                "hardware_compatible": True,
                "version_compatible": True,
                "tf32": True,
            }.items()
        ],
    ],
)
def test_whatever_changes_an_old_plan_is_not_found(plans: Plans, other: dict[str, object]) -> None:
    plans.save(PARTS, b"a plan", ABOUT)
    assert plans.load(other) is None
    assert plan_key(other) != plan_key(PARTS)


def test_every_option_and_fact_is_in_the_key() -> None:
    """A new field cannot be forgotten. Where a GPU is plugged in is of no matter to its plans."""
    assert PARTS["device"].keys() == {field.name for field in dataclasses.fields(Device)} - {"pci"}
    assert PARTS["options"].keys() == {field.name for field in dataclasses.fields(BuildOptions)}


def test_the_key_does_not_depend_on_order() -> None:
    assert plan_key(dict(reversed(PARTS.items()))) == plan_key(PARTS)


@pytest.mark.parametrize("suffix", [".plan", ".json"])
def test_every_flipped_bit_makes_it_unfound(plans: Plans, suffix: str, caplog: pytest.LogCaptureFixture) -> None:
    saved = plans.save(PARTS, b"a plan", ABOUT)
    path = plans.folder / f"{saved.key}{suffix}"
    good = path.read_bytes()
    for position in range(0, len(good) * 8, 1 if suffix == ".plan" else 7):
        bad = bytearray(good)
        bad[position // 8] ^= 1 << position % 8
        path.write_bytes(bad)
        found = plans.load(PARTS)
        # Spaces of the text may be damaged, and nothing else.
        assert found is None or (suffix == ".json" and (found.data, found.about) == (b"a plan", saved.about))
    assert "will be built again" in caplog.text


@pytest.mark.parametrize("missing", [".plan", ".json"])
def test_half_a_plan_is_none(plans: Plans, missing: str) -> None:
    saved = plans.save(PARTS, b"a plan", ABOUT)
    (plans.folder / f"{saved.key}{missing}").unlink()
    assert plans.load(PARTS) is None


def test_a_plan_renamed_to_another_key_is_not_taken(plans: Plans) -> None:
    """Somebody copies a cache between boards and helps themselves."""
    other = key_parts(DIGEST, "10.16.1", DEVICE, BuildOptions())
    saved = plans.save(PARTS, b"a plan", ABOUT)
    for suffix in (".plan", ".json"):
        (plans.folder / f"{saved.key}{suffix}").rename(plans.folder / f"{plan_key(other)}{suffix}")
    assert plans.load(other) is None


def test_what_others_can_write_is_refused(plans: Plans) -> None:
    saved = plans.save(PARTS, b"a plan", ABOUT)
    path = plans.folder / f"{saved.key}.plan"
    path.chmod(0o666)
    with pytest.raises(EngineError, match="a plan is code"):
        plans.load(PARTS)
    path.chmod(0o600)
    plans.folder.chmod(0o777)
    with pytest.raises(EngineError, match="chmod go-w"):
        plans.load(PARTS)
    with pytest.raises(EngineError, match="chmod go-w"):
        plans.save(PARTS, b"a plan", ABOUT)


def test_a_link_is_not_followed(plans: Plans, tmp_path: Path) -> None:
    saved = plans.save(PARTS, b"a plan", ABOUT)
    path = plans.folder / f"{saved.key}.plan"
    path.rename(tmp_path / "elsewhere")
    path.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(EngineError, match="cannot read"):
        plans.load(PARTS)


def test_a_cache_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    plans = Plans(tmp_path / "file" / "plans")
    with pytest.raises(EngineError, match=r"\[daemon\] cache"):
        plans.save(PARTS, b"a plan", ABOUT)
    with pytest.raises(EngineError, match="cannot use the plan cache"), plans.lock(PARTS):
        pass


def test_a_writer_killed_at_any_moment_leaves_a_whole_plan_or_none(tmp_path: Path) -> None:
    """Two versions are written in turn by a process that is killed again and again."""
    code = f"""
import sys; sys.path[:0] = [{str(Path(__file__).parent)!r}, {SUPPORT!r}]
from pathlib import Path
from test_plan_cache import ABOUT, PARTS, Plans
plans = Plans(Path({str(tmp_path / "plans")!r}))
print("ready", flush=True)
while True:
    for fill in (b"a", b"b"):
        plans.save(PARTS, fill * 100_000, ABOUT)
"""
    wholes = set()
    for moment in range(6):
        child = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE)
        with child:
            assert child.stdout is not None
            child.stdout.readline()
            threading.Event().wait(0.02 + 0.017 * moment)
            child.kill()
        if (found := Plans(tmp_path / "plans").load(PARTS)) is not None:
            wholes.add(found.data)
    assert wholes <= {b"a" * 100_000, b"b" * 100_000}


def test_one_builder_at_a_time(plans: Plans) -> None:
    other = key_parts(DIGEST, "10.16.1", DEVICE, BuildOptions())
    with plans.lock(PARTS) as mine:
        assert mine
        with plans.lock(PARTS, wait=False) as second:
            assert not second
        with plans.lock(other, wait=False) as unrelated:
            assert unrelated
    with plans.lock(PARTS, wait=False) as again:
        assert again


def test_waiting_for_the_lock_ends_when_it_is_free(plans: Plans) -> None:
    order = []
    with plans.lock(PARTS):
        waiting = threading.Thread(target=lambda: _locked(plans, order))
        waiting.start()
        threading.Event().wait(0.05)
        order.append("first")
    waiting.join(10)
    assert order == ["first", "second"]


def _locked(plans: Plans, order: list[str]) -> None:
    with plans.lock(PARTS):
        order.append("second")


def test_other_files_of_the_cache(plans: Plans) -> None:
    assert plans.read("timing.cache") == b""
    plans.write("timing.cache", b"times")
    assert plans.read("timing.cache") == b"times"
    assert (plans.folder / "timing.cache").stat().st_mode & 0o077 == 0
