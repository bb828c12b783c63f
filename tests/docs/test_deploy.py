"""What is in deploy/ and systemd/ is taken by whom it is for: Kubernetes' own schemas, our config, a shell."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml

from edged.config import load_config
from edged.services.pull.reference import parse_reference

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"
KUBERNETES = ("1.27", "1.31", kubernetes_validate.latest_version())


def manifests() -> list[dict[str, Any]]:
    return list(yaml.safe_load_all((DEPLOY / "kubernetes" / "edged.yaml").read_text(encoding="utf-8")))


@pytest.mark.parametrize("version", KUBERNETES)
def test_kubernetes_takes_the_manifests(version: str) -> None:
    for manifest in manifests():
        kubernetes_validate.validate(manifest, version, strict=True)


def test_kubernetes_would_object_to_a_mistake() -> None:
    manifest = next(one for one in manifests() if one["kind"] == "DaemonSet")
    manifest["spec"]["template"]["spec"]["nodeSelektor"] = {}
    with pytest.raises(kubernetes_validate.ValidationError, match="nodeSelektor"):
        kubernetes_validate.validate(manifest, KUBERNETES[1], strict=True)


def test_the_daemon_of_the_manifest_is_one_of_ours(tmp_path: Path) -> None:
    by_kind = {one["kind"]: one for one in manifests()}
    (name, text) = next(iter(by_kind["ConfigMap"]["data"].items()))
    (tmp_path / name).write_text(text, encoding="utf-8")
    config = load_config(tmp_path / name)
    pod = by_kind["DaemonSet"]["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    mounts = {mount["mountPath"] for mount in container["volumeMounts"]}
    assert container["args"] == ["run", f"/etc/edged/{name}"]
    assert f"/etc/edged/{name}" in mounts
    assert str(config.bus.secret_key).startswith("/etc/edged/keys/")
    assert {"/etc/edged/keys", "/run/edged", "/var/lib/edged", "/var/cache/edged"} <= mounts
    ports = {port["name"]: port["containerPort"] for port in container["ports"]}
    assert {name: int(endpoint.rpartition(":")[2]) for name, endpoint in config.bus.bind.items()} == ports
    assert {port["name"]: port["port"] for port in by_kind["Service"]["spec"]["ports"]} == ports
    assert container["resources"]["requests"] == container["resources"]["limits"]
    for probe in ("startupProbe", "livenessProbe"):
        assert container[probe]["exec"]["command"] == ["edged", "status", config.daemon.name]
    assert container["readinessProbe"]["exec"]["command"] == ["edged", "status", config.daemon.name, "--ready"]
    (puller,) = (one for one in pod["initContainers"] if one["name"] == "engine")
    command, reference, target, auth = puller["args"]
    assert (command, target, auth.partition("=")[0]) == ("pull", container["args"][1], "--auth")
    assert parse_reference(reference).digest
    assert {mount["mountPath"] for mount in puller["volumeMounts"]} >= {target, "/registry", "/var/lib/edged"}
    engine = pod["nodeSelector"]["edged/engine"]
    assert engine.startswith(f"{config.engine.name}-")
    labels = {"app": "edged-pick", "engine": engine}
    assert by_kind["DaemonSet"]["spec"]["selector"]["matchLabels"] == labels
    assert by_kind["DaemonSet"]["spec"]["template"]["metadata"]["labels"] == labels
    assert by_kind["Service"]["spec"]["selector"].items() <= labels.items()


def test_the_compose_file_runs_what_there_is() -> None:
    compose = yaml.safe_load((DEPLOY / "compose" / "compose.yml").read_text(encoding="utf-8"))
    for name in ("pick", "inspect"):
        service = compose["services"][name]
        assert service["restart"] == "unless-stopped"
        assert service["environment"]["EDGED_DAEMON__NAME"] == name
        assert f"./{name}.toml:/etc/edged/cell.toml:ro" in service["volumes"]
        assert (ROOT / "systemd" / f"{name}.toml").is_file()
        assert service["cap_drop"] == ["ALL"]
    named = {volume.partition(":")[0] for one in compose["services"].values() for volume in one["volumes"]}
    assert {volume for volume in named if volume[0] not in "./"} == set(compose["volumes"])
    assert "WATCHDOG_USEC=10000000" in (ROOT / "Dockerfile.jetson").read_text(encoding="utf-8")


def test_udev_rules_have_matches_and_assignments() -> None:
    pair = re.compile(r'[A-Z]+(\{[A-Za-z]+\})?(==|\+=|=)"[^"]*"')
    rules = [line for line in (DEPLOY / "udev" / "60-edged.rules").read_text().splitlines() if line and line[0] != "#"]
    assert len(rules) >= 4
    for rule in rules:
        parts = rule.split(", ")
        assert all(pair.fullmatch(part) for part in parts), rule
        assert any("==" in part for part in parts)
        assert 'MODE="0660"' in parts


FAKE_PYTHON = r"""#!/bin/sh
# python3 -m venv FOLDER: with a pip and an edged that do what the test wants
mkdir -p "$3/bin"
cat > "$3/bin/pip" <<'END'
#!/bin/sh
case "$*" in *==broken*) exit 1;; esac
END
cat > "$3/bin/edged" <<END
#!/bin/sh
if [ "\$1" = version ]; then echo "${3##*/}"; exit; fi
if [ "\$1" = check ] && [ "${3##*/}" = picky ]; then echo "error config: \$2"; exit 2; fi
exit 1
END
chmod +x "$3/bin/pip" "$3/bin/edged"
"""
FAKE_SYSTEMCTL = r"""#!/bin/sh
if [ "$1" = list-units ]; then
    echo edged@inspect.service loaded
    [ -e "$EDGED_OPT/failed" ] || echo edged@pick.service loaded  # it lists what is active
    case "$*" in *edged-gateway@*) echo edged-gateway@line.service loaded;; esac
    exit
fi
echo "$1 $2 $(readlink -f "$EDGED_OPT/edged" | sed 's|.*/||')" >> "$CALLS"
rm -f "$EDGED_OPT/failed"
case "$2 $(readlink -f "$EDGED_OPT/edged")" in "edged@pick.service "*lame) touch "$EDGED_OPT/failed"; exit 1;; esac
"""


class Machine:
    def __init__(self, folder: Path) -> None:
        self.opt, self.etc, self.calls = folder / "opt", folder / "etc", folder / "calls"
        for place in (self.opt, self.etc, folder / "bin"):
            place.mkdir()
        (self.etc / "pick.toml").write_text("[engine]\nname = 'reach'\n", encoding="utf-8")
        for name, text in (("python3", FAKE_PYTHON), ("systemctl", FAKE_SYSTEMCTL)):
            (folder / "bin" / name).write_text(text, encoding="utf-8")
            (folder / "bin" / name).chmod(0o755)
        self._environ = {**os.environ, "PATH": f"{folder / 'bin'}:{os.environ['PATH']}", "EDGED_OPT": str(self.opt),
                         "EDGED_ETC": str(self.etc), "CALLS": str(self.calls)}  # fmt: skip

    def upgrade(self, arguments: str) -> int:
        self.calls.write_text("", encoding="utf-8")
        command = [str(DEPLOY / "upgrade"), *shlex.split(arguments)]
        return subprocess.run(command, env=self._environ, capture_output=True, check=False).returncode

    @property
    def runs(self) -> str:
        return (self.opt / "edged").resolve().name if (self.opt / "edged").exists() else ""

    @property
    def started(self) -> list[str]:
        return self.calls.read_text(encoding="utf-8").splitlines()


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


def test_an_upgrade_starts_every_daemon_again_and_goes_back(machine: Machine) -> None:
    assert machine.upgrade("wheels 1.0") == 0
    assert machine.runs == "1.0"
    assert machine.upgrade("wheels 2.0 cpu,ui") == 0
    assert machine.runs == "2.0"
    units = ["edged@inspect", "edged@pick", "edged-gateway@line"]
    assert machine.started == [f"restart {unit}.service 2.0" for unit in units]
    assert machine.upgrade("--back") == 0
    assert machine.runs == "1.0"
    assert machine.upgrade("--back") == 0  # and forth
    assert machine.runs == "2.0"


def test_a_version_that_does_not_become_ready_is_taken_back(machine: Machine) -> None:
    assert machine.upgrade("wheels 1.0") == 0
    assert machine.upgrade("wheels lame") == 1
    assert machine.runs == "1.0"
    assert machine.started[-3:-1] == ["restart edged@inspect.service 1.0", "restart edged@pick.service 1.0"]


@pytest.mark.parametrize("version", ["picky", "broken"])
def test_nothing_moves_for_what_does_not_take_the_configs_or_install(machine: Machine, version: str) -> None:
    assert machine.upgrade("wheels 1.0") == 0
    assert machine.upgrade(f"wheels {version}") == 1
    assert machine.runs == "1.0"
    assert machine.started == []


@pytest.mark.parametrize("version", ["picky", "broken"])
def test_what_there_is_to_go_back_to_outlives_an_upgrade_that_fails(machine: Machine, version: str) -> None:
    assert machine.upgrade("wheels 1.0") == 0
    before = machine.opt / "edged-releases" / "1.0"
    before.rename(before.with_name(version))
    (machine.opt / "edged").unlink()
    (machine.opt / "edged").symlink_to(before.with_name(version))
    assert machine.upgrade("wheels 2.0") == 0
    assert machine.upgrade(f"wheels {version}") == 1
    assert machine.upgrade("--back") == 0
    assert machine.runs == version
    assert not list(before.parent.glob("*.old"))


def test_what_was_not_meant_is_refused(machine: Machine) -> None:
    assert machine.upgrade("") == 2
    assert machine.upgrade("--back") == 2
    assert machine.upgrade("wheels 1.0") == 0
    assert machine.upgrade("wheels 1.0") == 2
    for none in ("''", "../1.0", ".", "before", "1.0/bin"):  # such as a variable that is not set
        assert machine.upgrade(f"wheels {none}") == 2
        assert machine.runs == "1.0"
    (machine.opt / "edged").unlink()
    (machine.opt / "edged").mkdir()
    assert machine.upgrade("wheels 3.0") == 2
