"""What is imported only where it is asked for: extras, what reads the environment, the entry point."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

import edged
from edged.__main__ import EXTRAS


@pytest.mark.parametrize(
    ("missing", "extra", "command"),
    [
        ("typer", "cpu", "version"),
        ("pydantic", "cpu", "version"),
        ("pydantic_settings", "cpu", "check x.toml"),
        ("mujoco", "demo", "demo"),
    ],
)
def test_a_command_without_its_extra_says_which_one(missing: str, extra: str, command: str) -> None:
    """None in `sys.modules` is what an import finds where a package is not installed."""
    code = f"import sys; sys.modules[{missing!r}] = None; sys.argv[1:] = {command.split()}; "
    code += "from edged.__main__ import main; main()"
    environ = {**os.environ, "EDGED_LOG__LEVEL": "info"}  # which one of them reads
    done = subprocess.run([sys.executable, "-c", code], env=environ, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (1, ""), done.stderr
    assert done.stderr.startswith(f"edged: {missing} is not installed; pip install 'edged[{extra}]'")
    assert done.stderr.count("\n") == 1


def test_what_reads_the_environment_is_imported_only_where_that_sets_something(tmp_path: Path) -> None:
    """31 modules and 4 MB of every command, daemon and trial."""
    (tmp_path / "cell.toml").write_text("", encoding="utf-8")
    code = "import sys, pathlib, edged.cli.commands, edged.swap.trial_worker; from edged.config import load_daemon; "
    code += f"load_daemon(pathlib.Path({str(tmp_path / 'cell.toml')!r})); print('pydantic_settings' in sys.modules)"
    for variable, needed in (("OTHER", "False"), ("EDGED_LOG__LEVEL", "True"), ("edged_log__level", "True")):
        environ = {name: value for name, value in os.environ.items() if not name.upper().startswith("EDGED_")}
        argv, environ = [sys.executable, "-c", code], {**environ, variable: "info"}
        done = subprocess.run(argv, env=environ, capture_output=True, text=True, check=False)
        assert done.stdout == f"{needed}\n", done.stderr


def test_the_entry_is_the_one_that_says_so_and_knows_the_extras() -> None:
    if sys.version_info >= (3, 11):
        import tomllib
    else:
        import tomli as tomllib
    project = tomllib.loads((Path(edged.__file__).parents[1] / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert project["scripts"] == {"edged": "edged.__main__:main"}
    assert set(EXTRAS.values()) <= set(project["optional-dependencies"])
    for package, extra in EXTRAS.items():
        if package in ("tomli", "pydantic", "cv2"):  # by a marker, through pydantic-settings, and as opencv-python
            continue
        wanted = project["optional-dependencies"][extra]
        assert any(line.startswith(package.replace("_", "-")) for line in wanted), package
