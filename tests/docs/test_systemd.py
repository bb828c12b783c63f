"""The units are taken by systemd without a word, stay locked down, and the example configs fit the shipped engines."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from edged.bundle.cell_check import hints, misfits
from edged.bundle.manifest import Manifest, parse_manifest
from edged.config import load_config
from edged.core.errors import EXIT_USAGE

ROOT = Path(__file__).parents[2]
UNITS = ROOT / "systemd"
SERVICE = UNITS / "edged@.service"
EXAMPLES = ("pick", "inspect")

needs_systemd = pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd-analyze is not installed")


def settings(path: Path) -> dict[str, str]:
    """Key -> last value of a unit file; comments and section names are left out."""
    lines = (line for line in path.read_text(encoding="utf-8").splitlines() if re.match(r"[A-Za-z]+=", line))
    return dict(line.split("=", 1) for line in lines)


@pytest.fixture
def installed(tmp_path: Path) -> Path:
    """The units as installed, except that they start a program which is there."""
    others = ("edged.target", "edged-failed@.service", "edged-ui.service", "edged-gateway@.service")
    others += ("edged-record@.service", "edged-mps.service")
    for unit in (SERVICE, *(UNITS / name for name in others)):
        text = unit.read_text(encoding="utf-8").replace("/opt/edged/bin/edged", "/bin/true")
        text = text.replace("/usr/bin/nvidia-cuda-mps-control", "/bin/true")
        (tmp_path / unit.name).write_text(text, encoding="utf-8")
    shutil.copytree(UNITS / "edged@.service.d", tmp_path / "edged@.service.d")
    for name in ("give-up.conf", "mps.conf"):
        shutil.copy(UNITS / name, tmp_path / "edged@.service.d")
    return tmp_path


def analyze(*arguments: str) -> subprocess.CompletedProcess[str]:
    environ = {**os.environ, "SYSTEMD_COLORS": "0", "LC_ALL": "C"}
    return subprocess.run(["systemd-analyze", *arguments], capture_output=True, text=True, check=False, env=environ)


def verify(folder: Path) -> str:
    """What systemd finds wrong with the units in `folder`: unknown keys do not change its exit status."""
    units = [*(f"edged@{name}.service" for name in EXAMPLES), "edged-gateway@line1.service", "edged.target"]
    units += ["edged-failed@pick.service", "edged-ui.service", "edged-record@pick.service", "edged-mps.service"]
    done = analyze("verify", *(str(folder / unit) for unit in units))
    return done.stderr + (f"exit status {done.returncode}" if done.returncode else "")


@needs_systemd
def test_systemd_has_nothing_to_say_about_the_units(installed: Path) -> None:
    assert verify(installed) == ""


@needs_systemd
@pytest.mark.parametrize(
    "file",
    [
        "edged@.service",
        "edged@.service.d/10-devices.conf",
        "edged-ui.service",
        "edged-record@.service",
        "edged-mps.service",
        "edged@.service.d/mps.conf",
        "edged-gateway@.service",
        "edged.target",
    ],
)
def test_a_misspelt_key_would_be_found(installed: Path, file: str) -> None:
    unit = installed / file
    section = "[Unit]" if file.endswith("target") else "[Service]"
    unit.write_text(unit.read_text(encoding="utf-8").replace(section, f"{section}\nDescripton=x"), encoding="utf-8")
    assert "Descripton" in verify(installed)


@needs_systemd
def test_the_gateway_is_locked_down(installed: Path) -> None:
    unit = str(installed / "edged-gateway@line1.service")
    done = analyze("security", "--offline=true", "--threshold=20", "--no-pager", unit)
    assert done.returncode == 0, done.stdout


@needs_systemd
@pytest.mark.parametrize("with_drop_in", [True, False])
def test_the_service_is_locked_down(installed: Path, with_drop_in: bool) -> None:
    if not with_drop_in:
        shutil.rmtree(installed / "edged@.service.d")
    done = analyze("security", "--offline=true", "--threshold=30", "--no-pager", str(installed / "edged@pick.service"))
    assert done.returncode == 0, done.stdout
    (level,) = re.findall(r"Overall exposure level for edged@pick\.service: ([\d.]+)", done.stdout)
    assert float(level) <= 3.0


@needs_systemd
def test_the_gpus_sharing_is_locked_down(installed: Path) -> None:
    done = analyze("security", "--offline=true", "--threshold=35", "--no-pager", str(installed / "edged-mps.service"))
    assert done.returncode == 0, done.stdout


def test_daemons_find_the_service_that_shares_their_gpu() -> None:
    """MPS serves one user, and the daemons have a /tmp of their own, where it is looked for by default."""
    unit, drop_in, daemon = (settings(UNITS / name) for name in ("edged-mps.service", "mps.conf", "edged@.service"))
    assert unit["User"] == daemon["User"]
    assert unit["RuntimeDirectoryPreserve"] == "yes", "a daemon that runs has this one mounted, and no later one"
    assert f"/run/{unit['RuntimeDirectory']}" in drop_in["ReadWritePaths"]
    assert drop_in["Environment"] == f"CUDA_MPS_PIPE_DIRECTORY=/run/{unit['RuntimeDirectory']}"
    assert drop_in["Environment"] in unit["Environment"].split()
    assert drop_in["After"] == drop_in["Wants"] == "edged-mps.service"


def test_the_service_keeps_the_daemon_alive_and_lets_it_use_a_gpu() -> None:
    wanted = {
        "Type": "notify",
        "ExecStart": "/opt/edged/bin/edged run /etc/edged/%i.toml",
        "ExecReload": "/bin/kill -HUP $MAINPID",
        "Restart": "on-failure",
        "RestartSec": "1",
        "StartLimitIntervalSec": "0",
        "RestartPreventExitStatus": str(EXIT_USAGE),
        "OnFailure": "edged-failed@%i.service",
        "EnvironmentFile": "-/etc/edged/%i.env",
        "RuntimeDirectory": "edged/%i",
        "StateDirectory": "edged",
        "CacheDirectory": "edged",
        "LogsDirectory": "edged",
        "OOMPolicy": "continue",
        "PrivateDevices": "no",
        "MemoryDenyWriteExecute": "no",
        "ProtectClock": "no",
        "RestrictRealtime": "no",
        "LimitMEMLOCK": "infinity",
        "WantedBy": "edged.target",
    }
    given = settings(SERVICE)
    assert {key: given.get(key) for key in wanted} == wanted
    assert int(given["WatchdogSec"]) > 0
    assert given["User"] not in ("", "root")
    assert not {"DevicePolicy", "DeviceAllow"} & set(given), "operators cannot remove it from here"
    assert settings(UNITS / "edged@.service.d" / "10-devices.conf")["DevicePolicy"] == "closed"


@pytest.mark.parametrize("name", EXAMPLES)
def test_paths_under_systemd_are_the_units(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    given = settings(SERVICE)
    monkeypatch.setenv("RUNTIME_DIRECTORY", f"/run/{given['RuntimeDirectory'].replace('%i', name)}")
    monkeypatch.setenv("STATE_DIRECTORY", f"/var/lib/{given['StateDirectory']}")
    monkeypatch.setenv("CACHE_DIRECTORY", f"/var/cache/{given['CacheDirectory']}")
    daemon = load_config(UNITS / f"{name}.toml").daemon
    assert (daemon.name, str(daemon.runtime)) == (name, f"/run/edged/{name}")
    assert (str(daemon.store), str(daemon.cache)) == ("/var/lib/edged/engines", "/var/cache/edged")


def test_the_example_policy_does_not_move_by_itself() -> None:
    guard = load_config(UNITS / "pick.toml").guard
    assert guard.start == "disarmed"
    assert guard.enable is not None
    assert guard.measured is not None
    assert guard.following_error is not None


def shipped(name: str) -> list[Manifest]:
    paths = sorted((ROOT / "engines" / name).glob("*/manifest.json"))
    return [parse_manifest(path.read_bytes(), str(path)) for path in paths]


@pytest.mark.parametrize("name", EXAMPLES)
def test_the_examples_fit_the_shipped_engines(name: str) -> None:
    config = load_config(UNITS / f"{name}.toml")
    manifests = shipped(config.engine.name)
    if not manifests:
        pytest.skip(f"no engine {config.engine.name} is shipped")
    for manifest in manifests:
        assert misfits(manifest, config) == []
        assert hints(manifest, config) == []


@needs_systemd
def test_user_and_config_folder_are_made(tmp_path: Path) -> None:
    (tmp_path / "etc").mkdir()
    subprocess.run(["systemd-sysusers", f"--root={tmp_path}", str(UNITS / "sysusers.conf")], check=True)
    entry = (tmp_path / "etc" / "passwd").read_text(encoding="utf-8").split(":")
    assert entry[0] == settings(SERVICE)["User"]
    made = subprocess.run(
        ["systemd-tmpfiles", f"--root={tmp_path}", "--create", str(UNITS / "tmpfiles.conf")], check=False
    )
    folder = (tmp_path / "etc" / "edged").stat()
    assert folder.st_mode & 0o777 == 0o750
    if os.geteuid() == 0:  # only root can give it away
        assert made.returncode == 0
        assert (folder.st_uid, folder.st_gid) == (0, int(entry[3]))
