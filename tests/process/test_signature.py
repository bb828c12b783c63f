"""A daemon loads what is signed as its config wants it, and warns of what is not."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from configs import REACH_SENSORS
from rig import Rig, rig
from signing import bundle_path, keys, sign_bundle
from swap_engines import NAME, model
from swaps import open_cell
from waiting import until

from edged.bundle.store import Store
from edged.config import load_config
from edged.core.errors import RefusedError
from edged.swap.load import load_engine

__all__ = ["bundle_path", "keys", "rig"]


CELL = (
    """
[cameras.tool]
uri = "frames"
width = 640
height = 480
"""
    + REACH_SENSORS
    + """[guard]
measured = "sensor:joints"
[bus]
valid_ms = 200
[engine]
name = "reach"
"""
)


def load_as(bundle_path: Path, engine: str = "") -> list[str]:
    """Load the engine as a daemon would, with more lines in its [engine]; returns what it was warned of."""
    cell = bundle_path.parents[2] / "pick.toml"
    cell.write_text(CELL + engine)
    config = load_config(cell, [f"daemon.store={str(bundle_path.parents[1])!r}"])
    warnings: list[str] = []
    load_engine(config, Store(config.daemon.store), "current", warn=warnings.append).engine.close()
    return warnings


REQUIRED = 'require_signature = true\ntrusted = "trusted"\n'


def test_a_daemon_loads_what_is_signed_and_warns_of_what_is_not(bundle_path: Path, keys: Path) -> None:
    assert load_as(bundle_path) == ["reach 1 is not signed: nobody vouches for it"]
    with pytest.raises(RefusedError, match="not signed"):
        load_as(bundle_path, REQUIRED)
    sign_bundle(bundle_path, keys / "alice.pem")
    assert load_as(bundle_path, REQUIRED) == []


@pytest.mark.parametrize("engine", ["", 'trusted = "trusted"\n', REQUIRED])
def test_a_daemon_refuses_a_broken_signature(bundle_path: Path, keys: Path, engine: str) -> None:
    sign_bundle(bundle_path, keys / "alice.pem")
    path = bundle_path / "signature"
    path.write_bytes(path.read_bytes()[:-1] + bytes([path.read_bytes()[-1] ^ 1]))
    with pytest.raises(RefusedError, match="does not match SHA256SUMS"):
        load_as(bundle_path, engine)


@pytest.mark.parametrize("engine", ['trusted = "trusted"\n', REQUIRED])
def test_a_daemon_refuses_a_key_it_does_not_trust(bundle_path: Path, keys: Path, engine: str) -> None:
    sign_bundle(bundle_path, keys / "bob.pem")
    with pytest.raises(RefusedError, match="not trusted"):
        load_as(bundle_path, engine)


def test_a_version_keeps_the_content_that_was_committed_under_it(rig: Rig, keys: Path) -> None:
    """Two contents were signed with one number: whoever has the older one may not put it back."""
    engine = f"name = '{NAME}'\nrequire_signature = true\ntrusted = '{keys.parent / 'trusted'}'"
    cell = open_cell(rig, signed=keys / "alice.pem", engine=engine)
    until(lambda: any(line["state"] == "committed" and line["engine"] for line in cell.journal()))
    for version, seed in (("2", 2), ("3", 3)):
        cell.add(version, model(seed=seed))
        sign_bundle(cell.home / version, keys / "alice.pem")
        assert cell.swapped(version)["state"] == "committed"
    shutil.rmtree(cell.home / "2")
    cell.add("2", model(seed=4))
    sign_bundle(cell.home / "2", keys / "alice.pem")
    again = "2 is not what was committed here under that number"
    assert again in cell.swapped("2")["reason"]
    assert cell.running() == "3"

    cell.daemon.terminate()
    shutil.rmtree(cell.home / "3")
    cell.add("3", model(seed=5))
    sign_bundle(cell.home / "3", keys / "alice.pem")
    restarted = rig.daemon(cell.daemon.path)
    restarted.wait_status(lambda status: "3 is not what was committed here" in status["engine"].get("detail", ""))
    checked = rig.edged("check", str(cell.daemon.path))
    assert (checked.returncode, "3 is not what was committed here" in checked.stdout) == (3, True), checked


def test_without_required_signatures_a_version_may_be_made_again(rig: Rig) -> None:
    cell = open_cell(rig)
    for seed in (2, 3):
        shutil.rmtree(cell.home / "2", ignore_errors=True)
        cell.add("2", model(seed=seed))
        assert cell.swapped("2")["state"] == "committed"
        assert cell.swapped("1")["state"] == "committed"
