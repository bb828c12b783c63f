"""Cells of a fleet on this machine: daemons that answer over TCP with keys, an inventory of them, and Ansible."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import zmq.auth
from rig import Daemon, Rig, free_port, is_action, state_cell, state_toml
from swap_engines import NAME, WIDTH
from swaps import QUICK, Wave

from edged.bench import ENGINES

ANSIBLE = Path(__file__).parents[2] / "deploy" / "ansible"


class Fleet:
    """`count` cells, each with a store of its own, and what Ansible says about them."""

    def __init__(self, rig: Rig, count: int, rate_hz: int = 20) -> None:
        self.rig, self.folder, self.cells = rig, rig.folder, [f"cell{number}" for number in range(1, count + 1)]
        self.keys, self.clients = rig.folder / "keys", rig.folder / "clients"
        for name in ("daemon", "release"):
            self.keys.mkdir(exist_ok=True)
            path = Path(zmq.auth.create_certificates(self.keys, name)[1])
            path.chmod(0o600)
        self.clients.mkdir()
        allowed = rig.edged("keys", "allow", str(self.keys / "release.key"), str(self.clients), "--operate")
        assert allowed.returncode == 0, allowed
        feed = self.feed = Wave(f"ipc://{rig.folder}/state", "state", np.zeros(WIDTH), 100.0)
        rig._stack.callback(feed.close)
        self.ports = {cell: free_port() for cell in self.cells}
        self.stores = {cell: rig.folder / "stores" / cell for cell in self.cells}
        self.daemons: dict[str, Daemon] = {}
        for cell in self.cells:
            shutil.copytree(ENGINES / NAME, self.stores[cell] / NAME)
            bus = (
                f"valid_ms = 1000\nsecret_key = '{self.keys / 'daemon.key_secret'}'\nauthorized = '{self.clients}'\n"
                f"bind = {{control = '{self.control(cell)}'}}"
            )
            loop = f"clock = 'timer'\nrate_hz = {rate_hz}"
            sections = state_cell(rig, loop=loop, swap=QUICK, bus=bus, inputs=state_toml(rig))
            self.daemons[cell] = rig.daemon(rig.config(cell, store=str(self.stores[cell]), **sections))
        for daemon in self.daemons.values():
            daemon.listen().wait(is_action)

    def control(self, cell: str) -> str:
        return f"tcp://127.0.0.1:{self.ports[cell]}"

    def running(self) -> dict[str, str]:
        return {cell: str(self.daemons[cell].status()["engine"]["version"]) for cell in self.cells}

    @contextmanager
    def spoilt_on_probation(self, cell: str) -> Iterator[None]:
        """What all cells see changes as soon as the swap of this one is on probation."""
        ended = threading.Event()

        def watch() -> None:
            while not ended.wait(0.05):
                if (self.daemons[cell].status()["swap"]["active"] or {}).get("state") == "probation":
                    self.feed.values = np.full(WIDTH, 9.0)
                    return

        watching = threading.Thread(target=watch)
        watching.start()
        try:
            yield
        finally:
            ended.set()
            watching.join()
            self.feed.values = np.zeros(WIDTH)

    def inventory(self, more: Mapping[str, Mapping[str, Any]] | None = None) -> Path:
        """`more`: cells that are not there, and what is said of them."""
        hosts: dict[str, Any] = {
            cell: {"edged_control": self.control(cell), "edged_daemon": cell, "edged_store": str(self.stores[cell])}
            for cell in self.cells
        }
        hosts |= more or {}
        given = {"edged_server_key": str(self.keys / "daemon.key"), "edged_key": str(self.keys / "release.key_secret")}
        return write_inventory(self.folder / "inventory.json", hosts, given)

    def roll(self, inventory: Path, version: str, **given: Any) -> tuple[int, dict[str, dict[str, Any]], str]:
        """rollout.yml: its exit code, the report by cell, and all it said."""
        quick = {"edged_predictions": 20, "edged_poll_seconds": 0.3, "edged_version": version}
        return play("rollout", inventory, self.folder, {**quick, **given})


def write_inventory(path: Path, hosts: Mapping[str, Any], given: Mapping[str, Any]) -> Path:
    here = {
        "ansible_connection": "local",
        "ansible_python_interpreter": sys.executable,
        "edged_python": sys.executable,
        "edged_command": str(Path(sys.executable).with_name("edged")),
    }
    group = {"hosts": dict(hosts), "vars": {**here, **given}}
    path.write_text(json.dumps({"edged_cells": group}), encoding="utf-8")
    return path


def play(
    name: str, inventory: Path, folder: Path, given: Mapping[str, Any], **environ: str
) -> tuple[int, dict[str, dict[str, Any]], str]:
    """A playbook, to its end: exit code, the report by cell, and all it said."""
    report = folder / "report.json"
    report.unlink(missing_ok=True)
    extra = json.dumps({**given, "edged_report_file": str(report)})
    command = [str(Path(sys.executable).with_name("ansible-playbook")), "-i", str(inventory), "-f", "20", "-e", extra]
    about = {"ANSIBLE_LOCAL_TEMP": str(folder / "ansible"), "ANSIBLE_REMOTE_TMP": str(folder / "ansible"),
             "ANSIBLE_NOCOLOR": "1",
             "ANSIBLE_PIPELINING": "1", "ANSIBLE_HOME": str(folder / "ansible"), "LC_ALL": "C.UTF-8"}  # fmt: skip
    done = subprocess.run(
        [*command, str(ANSIBLE / f"{name}.yml")], env={**os.environ, **about, **environ}, cwd=folder,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=900, check=False,
    )  # fmt: skip
    cells = json.loads(report.read_text(encoding="utf-8")) if report.exists() else []
    return done.returncode, {cell["cell"]: cell for cell in cells}, done.stdout
