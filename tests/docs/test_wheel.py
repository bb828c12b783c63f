"""What `python -m build` makes: an sdist and a wheel that run an engine where there is no checkout."""

from __future__ import annotations

import stat
import subprocess
import sys
import tarfile
import venv
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

pytestmark = pytest.mark.timeout(600)  # makes an environment and installs into it

RUN_THE_ENGINES = """
import edged
from edged.bundle.bundle import read_bundle
from edged.engine.registry import open_engine
from edged.pipeline.golden import golden_check
from edged.bundle.store import shipped_store

assert "site-packages" in edged.__file__, edged.__file__
for manifest in sorted(shipped_store().glob("*/*/manifest.json")):
    bundle = read_bundle(manifest.parent)
    with open_engine(bundle) as engine:
        golden_check(engine, bundle)
    print(f"{bundle.name}/{bundle.version}")
"""


def run(*command: str | Path, cwd: Path) -> str:
    done = subprocess.run([str(part) for part in command], cwd=cwd, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-4000:]
    return done.stdout


@pytest.fixture(scope="module")
def online(tmp_path_factory: pytest.TempPathFactory) -> None:
    probe = [sys.executable, "-m", "pip", "download", "-q", "--no-deps", "-d", str(tmp_path_factory.mktemp("probe"))]
    done = subprocess.run([*probe, "hatchling"], capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"no package index reachable: {done.stderr.strip().splitlines()[-1]}")


@pytest.fixture(scope="module")
def dist(online: None, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with one sdist, and one wheel built from that sdist."""
    out = tmp_path_factory.mktemp("dist")
    run(sys.executable, "-m", "build", "--outdir", out, ROOT, cwd=out)
    return out


@pytest.fixture(scope="module")
def wheel(dist: Path) -> Path:
    (path,) = dist.glob("*.whl")
    return path


@pytest.fixture(scope="module")
def environment(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A new environment with the wheel and its `cpu` extra: its `bin` folder."""
    where = tmp_path_factory.mktemp("venv")
    venv.create(where)
    pip = (sys.executable, "-m", "pip", "--python", where / "bin" / "python", "install", "-q", "--no-compile")
    run(*pip, "-c", ROOT / "constraints.txt", f"{wheel}[cpu]", cwd=where)
    return where / "bin"


def test_the_wheel_holds_each_engine_once_and_nothing_else_of_the_checkout(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        infos = archive.infolist()
    names = [info.filename for info in infos]
    assert len(names) == len(set(names))
    assert not [info.filename for info in infos if stat.S_ISLNK(info.external_attr >> 16)]
    shipped = sorted(path.relative_to(ROOT / "engines") for path in (ROOT / "engines").glob("*/*/*"))
    assert [path for path in shipped if path.name == "model.onnx"], "no engine is shipped"
    for path in shipped:
        assert [name for name in names if name.endswith(str(path))] == [f"edged/_engines/{path}"]
    assert [name for name in names if name.endswith("/licenses/LICENSE")]
    assert {name.partition("/")[0].partition("-")[0] for name in names} == {"edged"}


def test_the_sdist_holds_what_the_tests_need(dist: Path) -> None:
    (sdist,) = dist.glob("*.tar.gz")
    with tarfile.open(sdist) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    needed = {
        "LICENSE",
        "README.md",
        "pyproject.toml",
        "constraints.txt",
        "tests/conftest.py",
        "edged/__init__.py",
    }
    assert needed <= names
    assert not [name for name in names if name.startswith((".venv", ".git/", "dist"))]


def test_every_shipped_engine_gives_its_golden_samples_from_the_installed_wheel(
    environment: Path, tmp_path: Path
) -> None:
    proved = run(environment / "python", "-c", RUN_THE_ENGINES, cwd=tmp_path).split()
    assert sorted(proved) == sorted(f"{path.parent.name}/{path.name}" for path in (ROOT / "engines").glob("*/*"))


def test_the_command_line_runs_from_the_installed_wheel(environment: Path, tmp_path: Path) -> None:
    edged = environment / "edged"
    assert run(edged, "version", cwd=tmp_path).strip()
    run(edged, "infer", "plate", ROOT / "examples" / "plate" / "plate.jpg", "-o", "overlay.png", cwd=tmp_path)
    assert (tmp_path / "overlay.png").read_bytes().startswith(b"\x89PNG")
