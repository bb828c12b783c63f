"""Control sockets that answer as a daemon's would, and a machine with places of its own for services."""

from __future__ import annotations

import contextlib
import io
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest
import zmq

from edged.bundle.store import shipped_store
from edged.cli.main import main
from edged.config import paths
from edged.runtime.control import Control, Operation
from edged.runtime.door import Door

NOBODY = 65534
SWAP = ("version", "allow_contract_change")


@dataclass(frozen=True)
class Machine:
    """`etc`, `run`, `state`: where services have their files; `session`: this user's runtime folders."""

    folder: Path

    def __getattr__(self, name: str) -> Path:
        return self.folder / name

    @property
    def session(self) -> Path:
        return self.folder / "session" / "edged"

    @contextlib.contextmanager
    def daemon(
        self, runtime: Path, engine: str = "reach", store: Path | None = None, version: str = "1"
    ) -> Iterator[Path]:
        """Something that answers in `runtime`; without `store` it does not say where its files are, as once."""
        runtime.mkdir(parents=True, exist_ok=True)
        status = {"daemon": {"name": runtime.name}, "engine": {"name": engine, "version": version}}
        status["engine"]["settings"] = {"goal": 0.5, "speed": 1.0}
        if store is not None:
            status["folders"] = {"store": str(store), "cache": str(self.folder / "cache"), "runtime": str(runtime)}
        operations = {
            "status": Operation(lambda args: status),
            "swap": Operation(lambda args: {"job": 1, "name": engine, **args}, args=frozenset(SWAP)),
            "hold": Operation(lambda args: {"state": "held"}, args=frozenset({"reason"})),
            "engines": Operation(lambda args: [{"name": engine, "version": version}]),
        }
        with zmq.Context() as context:
            control = Control(Door(context, "control", f"ipc://{runtime / 'control'}"), operations)
            control.start()
            try:
                yield runtime
            finally:
                control.close()
                (runtime / "control").unlink(missing_ok=True)

    def service(self, name: str, text: str = "") -> Path:
        """A file in `etc`."""
        self.etc.mkdir(exist_ok=True)
        path = self.etc / f"{name}.toml"
        path.write_text(text or "[engine]\nname = 'reach'\n", encoding="utf-8")
        return path


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machine]:
    """Nothing of the real machine is seen: neither services nor this user's own daemons and stores."""
    tmp_path_factory.getbasetemp()  # while temporary files still have their usual place
    with tempfile.TemporaryDirectory(prefix="box") as name:
        made = Machine(Path(name))
        for constant, folder in (("CONFIGS", "etc"), ("RUNTIME", "run"), ("STATE", "state"), ("CACHE", "cache")):
            monkeypatch.setattr(paths, f"SYSTEM_{constant}", made.folder / folder)
        for variable in ("RUNTIME_DIRECTORY", "STATE_DIRECTORY", "CACHE_DIRECTORY"):
            monkeypatch.delenv(variable, raising=False)
        monkeypatch.setenv("XDG_RUNTIME_DIR", str(made.folder / "session"))
        monkeypatch.setenv("XDG_DATA_HOME", str(made.folder / "data"))
        monkeypatch.setattr(tempfile, "tempdir", name)
        yield made


def engine_store(root: Path, *versions: str) -> Path:
    """A store whose `reach` is the shipped one under these versions; only 1 is what its folder calls it."""
    for version in versions or ("9",):
        shutil.copytree(shipped_store() / "reach" / "1", root / "reach" / version)
    return root


@dataclass(frozen=True)
class Done:
    code: int
    out: str
    err: str


def edged(*arguments: object) -> Done:
    """`edged ARGUMENTS`, in this process."""
    out, err = io.StringIO(), io.StringIO()
    before, sys.argv = sys.argv, ["edged", *map(str, arguments)]
    code: int | str | None = 0
    try:
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            main()
    except SystemExit as end:
        code = end.code
    finally:
        sys.argv = before
    return Done(code if isinstance(code, int) else 0, out.getvalue(), err.getvalue())


OUTSIDER = """
import encodings.cp437, importlib.metadata, json, os, pkgutil, sys  # the code page of the names in a zip
import edged.cli
for module in pkgutil.iter_modules(edged.cli.__path__):
    importlib.import_module(f"edged.cli.{module.name}")  # before the files of it are closed to us
from edged.config import paths
from fake_daemon import edged
importlib.metadata.version("numpy")  # which imports more in every version of Python
folder, nobody, commands = sys.argv[1], int(sys.argv[2]), json.loads(sys.argv[3])
for constant, name in (("CONFIGS", "etc"), ("RUNTIME", "run"), ("STATE", "state"), ("CACHE", "cache")):
    setattr(paths, f"SYSTEM_{constant}", paths.Path(folder) / name)
for name in sorted({command[0] for command in commands}):
    edged(name, "--help")  # what is imported late, likewise
if os.getuid() == 0:
    os.setgroups([])
    os.setgid(nobody)
    os.setuid(nobody)
done = [edged(*command) for command in commands]
print(json.dumps([[one.code, one.out, one.err] for one in done]))
"""


def as_outsider(machine: Machine, commands: Sequence[Sequence[str]]) -> list[Done]:
    """Run command lines as somebody without rights: nobody where we are root, else ourselves where all is closed."""
    for place in (Path(__file__), Path(sys.prefix)):
        if os.getuid() == 0 and not all(above.stat().st_mode & 0o001 for above in place.resolve().parents):
            pytest.skip(f"nobody may not look into {place}: clone into a folder that others can enter")
    closed = [path for path in (machine.run, machine.etc, machine.state) if path.is_dir()]
    closed = [inner for path in closed for inner in (path.iterdir() if path == machine.run else [path])]
    modes = {path: path.stat().st_mode & 0o7777 for path in closed}
    machine.folder.chmod(0o755)
    for path in closed:
        path.chmod(0o750 if os.getuid() == 0 else 0)
    try:
        environ = {**os.environ, "XDG_RUNTIME_DIR": "/nonexistent", "XDG_DATA_HOME": "/nonexistent"}
        environ["PYTHONPATH"] = os.pathsep.join([str(Path(__file__).parent), *sys.path])
        argv = [sys.executable, "-c", OUTSIDER, str(machine.folder), str(NOBODY), json.dumps(list(map(list, commands)))]
        done = subprocess.run(argv, env=environ, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        return [Done(*one) for one in json.loads(done.stdout.splitlines()[-1])]
    finally:
        for path, mode in modes.items():
            path.chmod(mode)
