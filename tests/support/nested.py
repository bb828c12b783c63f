"""pytest in a process of its own, with this suite's conftest.py over made-up tests."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

CONFTEST = Path(__file__).parents[1] / "conftest.py"
NO_HYPOTHESIS = '''"""All that conftest.py wants of it: the real one takes longer to import than the tests to run."""


class settings:
    register_profile = load_profile = staticmethod(lambda *_, **__: None)
'''


def write_conftest(suite: Path, tests: Path) -> None:
    """`suite`: where pytest starts; `tests`: where its tests and conftest.py are."""
    tests.mkdir(parents=True, exist_ok=True)
    (tests / "conftest.py").write_text(CONFTEST.read_text(encoding="utf-8"), encoding="utf-8")
    (suite / "hypothesis.py").write_text(NO_HYPOTHESIS, encoding="utf-8")


def run_pytest(suite: Path, *options: str) -> subprocess.CompletedProcess[str]:
    """`python -m pytest OPTIONS` there, without the plugins that take a second to import in each process."""
    environ = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}
    environ["PYTEST_DISABLE_PLUGIN_AUTOLOAD"] = "1"
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "--rootdir", str(suite), *options]
    command += [] if "no:xdist" in options else ["-p", "xdist"]
    return subprocess.run(command, cwd=suite, env=environ, capture_output=True, text=True, check=False)
