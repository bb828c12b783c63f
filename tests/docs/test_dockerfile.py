"""Dockerfile.jetson builds for either JetPack, runs as nobody special and says when it is not well."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from edged.config import load_config

ROOT = Path(__file__).parents[2]
DOCKERFILE = ROOT / "Dockerfile.jetson"
HADOLINT = shutil.which("hadolint", path=str(Path(sys.executable).parent)) or shutil.which("hadolint")


def instructions(text: str) -> list[tuple[str, str]]:
    """(KEYWORD, rest) in order; comments are dropped and continued lines joined."""
    lines = [line for line in text.splitlines() if not line.lstrip().startswith("#")]
    joined = re.sub(r"\\\n\s*", " ", "\n".join(lines))
    return [
        (word.upper(), rest.strip()) for word, _, rest in (line.partition(" ") for line in joined.splitlines() if line)
    ]


STEPS = instructions(DOCKERFILE.read_text(encoding="utf-8"))


def of(keyword: str) -> list[str]:
    return [rest for word, rest in STEPS if word == keyword]


def final_stage() -> list[tuple[str, str]]:
    last = max(index for index, (word, _) in enumerate(STEPS) if word == "FROM")
    return STEPS[last:]


def environment() -> dict[str, str]:
    """What ENV sets in the final stage."""
    given = " ".join(rest for word, rest in final_stage() if word == "ENV")
    return dict(pair.split("=", 1) for pair in given.split())


@pytest.mark.skipif(HADOLINT is None, reason="hadolint has no package for this machine")
def test_hadolint_has_nothing_to_say() -> None:
    assert HADOLINT is not None
    done = subprocess.run([HADOLINT, "--no-color", str(DOCKERFILE)], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "")


def test_the_base_image_is_an_argument_and_has_a_version() -> None:
    assert STEPS[0] == ("ARG", "BASE=nvcr.io/nvidia/l4t-jetpack:r36.4.0")
    stages = of("FROM")
    assert stages[0].split()[0] == "${BASE}"
    names = {stage.split()[-1] for stage in stages if " AS " in stage}
    assert {stage.split()[0] for stage in stages[1:]} <= names
    assert ":latest" not in DOCKERFILE.read_text(encoding="utf-8")


def test_packages_come_without_recommendations_and_leave_no_lists() -> None:
    installing = [run for run in of("RUN") if "apt-get install" in run]
    assert installing
    for run in installing:
        assert run.count("apt-get install") == run.count("apt-get install -y --no-install-recommends")
        assert run.endswith("rm -rf /var/lib/apt/lists/*")
    pip = [run for run in of("RUN") if "pip install" in run]
    assert all("pip install --no-cache-dir" in run for run in pip)


def test_opencv_is_the_systems() -> None:
    text = " ".join(of("RUN"))
    assert "[jetson,pull]" in text
    assert "python3-opencv" in text
    assert "--system-site-packages" in text
    assert "opencv-python" not in text


def test_it_runs_as_an_ordinary_user() -> None:
    (user,) = [rest for word, rest in final_stage() if word == "USER"]
    uid, _, gid = user.partition(":")
    assert int(uid) > 0
    assert int(gid) > 0
    words = [word for word, _ in final_stage()]
    assert words.index("USER") > max(index for index, word in enumerate(words) if word in ("RUN", "COPY"))


def test_commands_are_exec_forms_and_health_is_asked_of_the_daemon() -> None:
    final = dict(final_stage())
    assert json.loads(final["ENTRYPOINT"]) == ["edged"]
    assert json.loads(final["CMD"]) == ["run", "/etc/edged/cell.toml"]
    _, _, command = final["HEALTHCHECK"].partition("CMD ")
    assert json.loads(command) == ["sh", "-c", 'exec edged status "${EDGED_DAEMON__NAME}"']


def test_files_live_where_systemd_would_have_them(monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in ("RUNTIME_DIRECTORY", "STATE_DIRECTORY", "CACHE_DIRECTORY"):
        monkeypatch.delenv(variable, raising=False)
    for variable, value in environment().items():
        if variable != "PATH":
            monkeypatch.setenv(variable, value)
    daemon = load_config(ROOT / "systemd" / "inspect.toml").daemon
    assert daemon.name == "cell"  # one container is one daemon; -e EDGED_DAEMON__NAME names it
    assert str(daemon.runtime) == "/run/edged/cell"
    assert (str(daemon.store), str(daemon.cache)) == ("/var/lib/edged/engines", "/var/cache/edged")
    owned = next(rest for word, rest in final_stage() if word == "RUN")
    assert all(folder in owned for folder in ("/run/edged", "/var/lib/edged", "/var/cache/edged"))


def test_the_context_holds_what_is_copied_and_little_else() -> None:
    lines = (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()
    assert "*" in lines
    allowed = {line.removeprefix("!") for line in lines if line.startswith("!")}
    copied = [rest.split()[:-1] for rest in of("COPY") if not rest.startswith("--from")]
    assert {source for sources in copied for source in sources} == allowed
