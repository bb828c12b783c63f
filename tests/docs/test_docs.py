"""The documents keep their promises: commands to paste, links that lead somewhere, versions that are pinned."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
import zmq
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from waiting import until

from edged.cli.commands import app
from edged.config import SensorConfig
from edged.core.clock import monotonic_ns
from edged.source.sensor import Sensor

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ROOT = Path(__file__).parents[2]
DOCUMENTS = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *(ROOT / "examples").rglob("*.md")])
FENCE = re.compile(r"^```(.*?)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"!?\[[^\]]*\]\(([^)\s]+)\)")
HEADING = re.compile(r"^#+ +(.+?) *$", re.MULTILINE)


def text(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


def commands() -> list[str]:
    """The contents of README's fences that are marked `sh` and nothing else."""
    return [body for info, body in FENCE.findall(text("README.md")) if info == "sh"]


def recipe(target: str) -> list[str]:
    """The lines of a Makefile target."""
    _, _, after = text("Makefile").partition(f"\n{target}:\n")
    return [line.strip() for line in after.partition("\n\n")[0].splitlines()]


def test_readme_begins_with_the_main_job_and_then_the_tests() -> None:
    first, second = (body.strip() for body in commands()[:2])
    for line in (first, second):
        assert "\n" not in line, f"one line, so that it can be pasted: {line}"
        assert not line.startswith(("$", "#", ">")), f"no prompt: {line}"
    assert first.endswith(".venv/bin/edged demo")
    assert "-c constraints.txt" in first
    assert second.endswith(".venv/bin/pytest")


def test_make_runs_the_same_commands() -> None:
    first, second = (body.strip() for body in commands()[:2])
    assert [" && ".join(recipe("setup") + recipe("test"))] == [second]
    assert recipe("demo") == [first.rpartition(" && ")[2]]
    for check in recipe("check"):
        assert f"attempt {check}\n" in text(".ci/run")


def test_readme_names_commands_that_exist() -> None:
    code = [body for _, body in FENCE.findall(text("README.md"))]
    code += re.findall(r"`([^`\n]+)`", FENCE.sub("", text("README.md")))
    named = set(re.findall(r"(?:^|/|\s)edged ([a-z]+)(?![\w.])", "\n".join(code)))
    known = {command.name or command.callback.__name__ for command in app.registered_commands if command.callback}
    assert "demo" in named
    assert named <= known


def test_readme_names_files_that_are_where_it_is_typed() -> None:
    console = "\n".join(body for info, body in FENCE.findall(text("README.md")) if info == "console")
    named = re.findall(r"\S+\.(?:toml|jpg|onnx)\b", console)
    assert "systemd/pick.toml" in named
    for name in named:
        assert (ROOT / name).is_file(), name


def test_every_command_has_its_exit_codes_told() -> None:
    known = {command.name or command.callback.__name__ for command in app.registered_commands if command.callback}
    told = re.findall(r"^\| (`[^|]*`) \|", text("docs/cli.md"), re.MULTILINE)
    assert known <= set(re.findall(r"`([a-z]+)`", " ".join(told))) | {"version"}


def test_the_example_publisher_is_heard_by_a_sensor(tmp_path: Path) -> None:
    (source,) = [body for info, body in FENCE.findall(text("docs/sensors.md")) if info == "python"]
    endpoint = f"ipc://{tmp_path}/joints"
    source = "def read_joints():\n    return [1, 2, 3, 4, 5, 6]\n\n" + source.replace("tcp://*:5555", endpoint)
    config = SensorConfig(endpoint=endpoint, topic="joints", codec="json", names=tuple("abcdef"), unit="rad")
    with subprocess.Popen([sys.executable, "-c", source]) as publisher, zmq.Context() as context:
        try:
            with closing(Sensor("joints", config, context)) as sensor:
                until(lambda: sensor.drain(monotonic_ns()) and sensor.newest(), 30, sensor.stats)
                sample = sensor.newest()
        finally:
            publisher.kill()
    assert sample is not None
    assert sample.values.tolist() == [1, 2, 3, 4, 5, 6]
    assert 0 <= monotonic_ns() - sample.captured_ns < 60_000_000_000


def test_every_word_of_the_list_is_one_of_the_code() -> None:
    words = text("CONTRIBUTING.md").partition("## Words")[2].partition("\n## ")[0]
    named = re.findall(r"`([A-Z]\w+)`", words)
    assert len(named) >= 10
    code = "".join(path.read_text(encoding="utf-8") for path in (ROOT / "edged").rglob("*.py"))
    for name in named:
        assert re.search(rf"^(class {name}\b|{name}\b.* = )", code, re.MULTILINE), name


def headings(path: Path) -> set[str]:
    """A document's anchors as the forges make them: lower case, punctuation dropped, blanks to hyphens."""
    plain = FENCE.sub("", path.read_text(encoding="utf-8"))
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in HEADING.findall(plain)}


def dead_links(path: Path) -> Iterator[str]:
    document = path.read_text(encoding="utf-8")
    for link in LINK.findall(FENCE.sub("", document)):
        target, _, anchor = link.partition("#")
        if re.match(r"[a-z]+:", link):
            continue
        destination = path.parent / target if target else path
        if not destination.exists() or (anchor and anchor not in headings(destination)):
            yield link


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_links_lead_somewhere(path: Path) -> None:
    assert list(dead_links(path)) == []


def test_a_dead_link_is_noticed(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("# On *time*\n[a](#on-time) [b](#off) [c](page.md#on-time) ![d](e.png) [w](https://x.org/#y)\n")
    assert list(dead_links(page)) == ["#off", "e.png"]


def test_the_changelog_keeps_its_form() -> None:
    titles = re.findall(r"^## (.*)$", text("CHANGELOG.md"), re.MULTILINE)
    assert titles[0] == "[Unreleased]"
    for title in titles[1:]:
        assert re.fullmatch(r"\[\d+\.\d+\.\d+\] - \d{4}-\d{2}-\d{2}", title)


def requirements(extra: str) -> Iterator[Requirement]:
    """What `edged[extra]` asks for by itself, on the Python that runs this."""
    project = tomllib.loads(text("pyproject.toml"))["project"]
    for line in [*project["dependencies"], *project["optional-dependencies"][extra]]:
        requirement = Requirement(line)
        if requirement.name == "edged":
            for inner in sorted(requirement.extras):
                yield from requirements(inner)
        elif requirement.marker is None or requirement.marker.evaluate():
            yield requirement


def constraints() -> dict[str, Requirement]:
    lines = [line for line in text("constraints.txt").splitlines() if line and not line.startswith("#")]
    pins = [Requirement(line) for line in lines]
    here = [pin for pin in pins if pin.marker is None or pin.marker.evaluate()]
    assert len(here) == len({canonicalize_name(pin.name) for pin in here}), "two pins for one package"
    return {canonicalize_name(pin.name): pin for pin in here}


def test_every_dependency_is_pinned_once_within_its_bounds() -> None:
    pins = constraints()
    for requirement in requirements("dev"):
        pin = pins[canonicalize_name(requirement.name)]
        (exact,) = pin.specifier
        assert exact.operator == "=="
        assert exact.version in requirement.specifier, f"{pin} is not within {requirement}"


def test_constraints_name_no_address() -> None:
    assert "://" not in text("constraints.txt") + text(".ci/run")
