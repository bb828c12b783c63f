"""What docstrings, comments and documents name is there: files by their names, and commands of `edged`."""

from __future__ import annotations

import ast
import io
import re
import subprocess
import tokenize
from collections.abc import Iterator
from fnmatch import fnmatch
from functools import cache
from pathlib import Path

import pytest
import typer

from edged.cli.commands import app

ROOT = Path(__file__).parents[2]
FILE = re.compile(r"(?<![\w/.*-])[\w/.*-]*\w\.py\b")
COMMAND = re.compile(r"(?:`|'|^\s*(?:\$ )?(?:\.venv/bin/)?)edged ([a-z][\w-]*)")
THEIRS = {"setup.py"}
"""Files of other people's projects that the documents speak of."""


@cache
def tracked() -> tuple[str, ...]:
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=False)
    if listed.returncode:
        return tuple(str(path.relative_to(ROOT)) for path in ROOT.rglob("*") if ".venv" not in path.parts)
    return tuple(listed.stdout.split("\n"))


def documents() -> list[Path]:
    """CHANGELOG.md is about the past: what it names may be gone."""
    return [ROOT / name for name in tracked() if name.endswith(".md") and not name.endswith("CHANGELOG.md")]


def sources() -> list[Path]:
    return [ROOT / name for name in tracked() if name.startswith("edged/") and name.endswith(".py")]


def prose(source: str) -> Iterator[tuple[int, str]]:
    """Line and text of every docstring, loose string and comment of a module."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str):
            yield node.lineno, node.value.value
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type == tokenize.COMMENT:
            yield token.start[0], token.string


def missing_files(text: str) -> list[str]:
    """The Python files that `text` names and the tree does not have. `loop.py` and `runtime/loop.py` both find it."""
    named = set(FILE.findall(text)) - THEIRS
    return sorted(name for name in named if not any(fnmatch(f"/{path}", f"*/{name}") for path in tracked()))


@cache
def commands() -> frozenset[str]:
    """Every command of `edged`. Cached: typer takes milliseconds to build them, and every docstring asks."""
    return frozenset(typer.main.get_command(app).commands)  # type: ignore[attr-defined]


def missing_commands(text: str) -> list[str]:
    """The commands that `text` shows, in backticks, quotes or at the start of a line, and `edged` does not have."""
    shown = {name for line in text.splitlines() for name in COMMAND.findall(line)}
    return sorted(shown - commands())


@pytest.mark.parametrize("path", documents(), ids=lambda path: str(path.relative_to(ROOT)))
def test_a_document_names_what_is_there(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert (missing_files(text), missing_commands(text)) == ([], [])


def test_docstrings_and_comments_name_what_is_there() -> None:
    wrong = [
        f"{path.relative_to(ROOT)}:{line}: no {name}"
        for path in sources()
        for line, text in prose(path.read_text(encoding="utf-8"))
        for name in (*missing_files(text), *missing_commands(text))
    ]
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize(
    ("text", "gone"),
    [
        ("see `lane.py`", ["lane.py"]),
        ("see (runtime/pipeline.py)", ["runtime/pipeline.py"]),
        ("`runtime/loop.py`, loop.py and engine/ort*.py", []),
        ("`edged rehearse` does", ["rehearse"]),
        ("run 'edged rehearse x'", ["rehearse"]),
        ("    edged rehearse x.npz", ["rehearse"]),
        ("`edged run`: edged runs a daemon", []),
    ],
)
def test_a_dead_reference_is_found(text: str, gone: list[str]) -> None:
    assert missing_files(text) + missing_commands(text) == gone
