"""`edged pull` beside a daemon: what it brings is proved and taken over, also where there was no engine before."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
from oci import docker_registry, needs_registry, push
from rig import Rig, is_action, rig, state_cell
from swap_engines import NAME, files
from swaps import QUICK
from waiting import TRIAL_S, until

from edged.bundle.bundle import write_archive

__all__ = ["rig"]


@needs_registry
def test_a_cell_without_an_engine_gets_one_and_then_a_newer_one(rig: Rig, tmp_path: Path) -> None:
    """As in a pod: the first pull is done before the daemon runs, and again at each start."""
    shutil.rmtree(rig.store)
    rig.feed("state", np.zeros(15))
    config = rig.config(**state_cell(rig, swap=QUICK))
    with docker_registry(tmp_path) as address:
        versions = {}
        for version in ("1", "2"):
            path = write_archive(tmp_path / f"{NAME}-{version}.edged", files(version))
            versions[version] = push(address, f"line/{NAME}:{version}", path)
        tag = rig.edged("pull", f"{address}/line/{NAME}:2", str(config), "--plain-http")
        assert tag.returncode == 2
        assert versions["2"].partition("@")[2] in tag.stderr
        before = rig.edged("pull", versions["1"], str(config), "--plain-http")
        assert before.returncode == 0, before.stderr
        daemon = rig.daemon(config)
        daemon.listen().wait(is_action)
        assert daemon.status()["engine"]["version"] == "1"
        again = rig.edged("pull", versions["1"], "cell", "--plain-http", "--json")
        assert json.loads(again.stdout)["was_there"] is True
        newer = rig.edged("pull", versions["2"], "cell", "--plain-http", "--json")
        assert json.loads(newer.stdout)["path"].endswith(f"{NAME}/incoming/{NAME}-2.edged"), newer.stderr
        until(lambda: daemon.status()["engine"].get("version") == "2", TRIAL_S, lambda: daemon.status()["swap"])
    until(lambda: not list((rig.store / NAME / "incoming").glob("[!.]*")), 30)
