"""config.yml and install.yml of deploy/ansible, by ansible-core: what is wrong changes nothing, what does not become
ready is taken back, and either stops the cells that are left. systemctl is pretended."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

import pytest
from fleet import ANSIBLE, play, write_inventory
from rig import Rig, rig, state_cell

__all__ = ["rig"]

SYSTEMCTL = """#!/bin/sh
# restart edged@NAME.service: fails where the config or the version that is meant to run says so
[ "$1" != is-active ] || { cat "$ETC/../state" 2>/dev/null || echo active; exit; }
[ "$1" = restart ] || { echo "edged@cell1.service loaded"; exit; }
echo "$2" >> "$CALLS"
name=${2#edged@}
! grep -sq unready "$ETC/${name%.service}.toml" && ! readlink -f "$EDGED_OPT/edged" | grep -q lame
"""
PYTHON = """#!/bin/sh
# python3 -m venv FOLDER: with a pip and an edged of the version that is its name
mkdir -p "$3/bin"
printf '#!/bin/sh\\nexit 0\\n' > "$3/bin/pip"
printf '#!/bin/sh\\n[ "$1" != version ] || echo %s\\n' "${3##*/}" > "$3/bin/edged"
chmod +x "$3/bin/pip" "$3/bin/edged"
"""


class Machines:
    """Two cells, each with an /etc/edged and /opt of its own."""

    def __init__(self, rig: Rig) -> None:
        self.rig, self.folder, self.cells = rig, rig.folder, ("cell1", "cell2")
        (self.folder / "bin").mkdir()
        for name, text in (("systemctl", SYSTEMCTL), ("python3", PYTHON)):
            (self.folder / "bin" / name).write_text(text, encoding="utf-8")
            (self.folder / "bin" / name).chmod(0o755)
        for cell in self.cells:
            (self.folder / cell / "etc").mkdir(parents=True)
            (self.folder / cell / "opt").mkdir()
        group = {"edged_group": str(os.getgid())}
        hosts = {cell: {"edged_daemon": cell, "edged_etc": str(self.folder / cell / "etc"),
                        "edged_opt": str(self.folder / cell / "opt")} for cell in self.cells}  # fmt: skip
        self.inventory = write_inventory(self.folder / "inventory.json", hosts, group)
        self.calls = self.folder / "calls"

    def play(self, name: str, **given: Any) -> tuple[int, dict[str, str], str]:
        """Exit code, what became of each cell, and what was said."""
        self.calls.write_text("", encoding="utf-8")
        environ = {"PATH": f"{self.folder / 'bin'}:{os.environ['PATH']}", "CALLS": str(self.calls),
                   "ETC": str(self.folder / "cell1/etc")}  # fmt: skip
        code, report, said = play(name, self.inventory, self.folder, given, **environ)
        return code, {cell: one["verdict"] for cell, one in report.items()}, said

    def config(self, cell: str) -> str:
        path = self.folder / cell / "etc" / f"{cell}.toml"
        assert not list(path.parent.glob(".*.new"))
        return path.read_text(encoding="utf-8") if path.exists() else ""

    def runs(self, cell: str) -> str:
        link = self.folder / cell / "opt" / "edged"
        return link.resolve().name if link.exists() else ""


@pytest.fixture
def machines(rig: Rig) -> Machines:
    return Machines(rig)


def test_a_config_is_checked_and_taken_back(machines: Machines) -> None:
    rig = machines.rig
    good = {cell: rig.config(cell, **state_cell(rig)) for cell in machines.cells}
    first = good["cell1"].read_text(encoding="utf-8")
    good["cell2"].write_text(first.replace("rate_hz", "rate_hertz"), encoding="utf-8")
    code, report, said = machines.play("config", edged_config=str(rig.folder))
    assert (code != 0, report) == (True, {"cell1": "done", "cell2": "failed"}), said
    assert "rate_hertz" in said
    assert [machines.config(cell) for cell in machines.cells] == [first, ""]
    assert machines.calls.read_text() == "edged@cell1.service\n"

    good["cell1"].write_text(f"# unready\n{first}", encoding="utf-8")
    code, report, said = machines.play("config", edged_config=str(rig.folder))
    assert (code != 0, report) == (True, {"cell1": "failed", "cell2": "not tried"}), said
    assert "did not become ready with it, and has the one before again" in said
    assert machines.config("cell1") == first

    good["cell1"].write_text(f"# another\n{first}", encoding="utf-8")
    good["cell2"].write_text(first, encoding="utf-8")
    (machines.folder / "cell1/state").write_text("inactive\n", encoding="utf-8")
    code, report, said = machines.play("config", edged_config=str(rig.folder))
    assert (code, report) == (0, {"cell1": "done", "cell2": "done"}), said
    assert "cell1: done (it does not run, and was not started)" in said
    assert machines.config("cell1").startswith("# another")
    assert machines.calls.read_text() == "edged@cell2.service\n", "which is new there"


def test_a_release_is_installed_and_taken_back(machines: Machines) -> None:
    (machines.folder / "wheels").mkdir()
    given = {"edged_wheels": str(machines.folder / "wheels")}
    code, report, said = machines.play("install", edged_release="1.0", **given)
    assert (code, report) == (0, {"cell1": "done", "cell2": "done"}), said
    code, report, said = machines.play("install", edged_release="lame", **given)
    assert (code != 0, report) == (True, {"cell1": "failed", "cell2": "not tried"}), said
    assert [machines.runs(cell) for cell in machines.cells] == ["1.0", "1.0"]


def test_what_the_playbooks_say_of_themselves_is_there() -> None:
    assert {path.stem for path in ANSIBLE.glob("*.yml")} == {"config", "install", "inventory.example", "rollout"}
    assert shutil.which("ansible-playbook", path=str(Path(os.sys.executable).parent))  # type: ignore[attr-defined]
