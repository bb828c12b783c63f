"""What a text tells a person to type works when it is typed: every `edged …` in a string of the package is parsed.

A `{placeholder}` is filled in by the program, a word in CAPITALS by the person; both get a sample here. A command that
is quoted, or that ends a sentence, has to be whole: `edged resume` alone would only ask for a name.
"""

from __future__ import annotations

import ast
import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest
import typer.main
from fake_daemon import Machine, edged, engine_store, machine

import edged as package
from edged.cli.commands import app
from edged.cli.engines import new_key

__all__ = ["machine"]

ROOT = Path(package.__file__).parent
COMMAND = typer.main.get_command(app)
SAMPLES = {"TASK": "policy", "VERSION": "2"}  # anything else is called by its own name
MENTIONED = {  # a command that is spoken of, not one to type
    "cli/check.py: edged hold": "what a full disk makes of it",
    "config/guard.py: edged resume": "a key's description",
    "demo/processes.py: edged demo:": "the prefix of a line",
    "bench/cell.py: edged run": "the name of a process",
    "bench/process.py: edged run": "the name of a process",
}
PROSE = {"does", "ends", "reads"}
WORD = re.compile(r"(?<![\w./-])edged ([a-z][a-z-]*)")
OPTION = re.compile(r"(?<![\w-])--[a-z][a-z0-9-]+")


def strings(source: str) -> Iterator[str]:
    """Every string in it but docstrings, `{}` where an f-string has a value."""
    tree = ast.parse(source)
    skipped = {
        id(part)
        for node in ast.walk(tree)
        for part in ([node.value] if isinstance(node, ast.Expr) else getattr(node, "values", []))
        if not isinstance(node, ast.BoolOp | ast.Dict)
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.JoinedStr):
            yield "".join(str(part.value) if isinstance(part, ast.Constant) else "{}" for part in node.values)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in skipped:
            yield node.value


def commands(text: str) -> Iterator[str]:
    """Command lines in a text: up to the quote they began with, or to the end of the clause."""
    for match in WORD.finditer(text):
        before = text[match.start() - 1 : match.start()]
        ends = re.escape(before) if before and before in "'`" else r"[;,()\n]| or | again|$"
        line = re.split(ends, text[match.start() :], maxsplit=1)[0].strip()
        if match[1] not in PROSE or (before and before in "'`"):
            yield line


def objection(line: str) -> str | None:
    """Why `edged LINE` would not even be tried; None when it would."""
    filled = re.sub(r"\b[A-Z]{3,}\b", lambda word: SAMPLES.get(word[0], word[0].lower()), line.replace("{}", "pick"))
    try:
        command, rest = COMMAND, shlex.split(filled)[1:]
        context = command.make_context("edged", list(rest))
        while hasattr(command, "resolve_command"):
            rest = [*context._protected_args, *context.args] if hasattr(context, "_protected_args") else context.args
            name, command, rest = command.resolve_command(context, rest)
            context = command.make_context(name, list(rest), parent=context)
    except Exception as error:
        if type(error).__name__ == "Exit":  # --help
            return None
        return f"{type(error).__name__}: {error}"
    return None


def found() -> list[tuple[str, str]]:
    return [
        (path.relative_to(ROOT).as_posix(), line)
        for path in sorted(ROOT.rglob("*.py"))
        for text in strings(path.read_text(encoding="utf-8"))
        for line in commands(text)
    ]


def test_every_command_in_a_text_can_be_typed() -> None:
    lines = found()
    assert len(lines) > 40
    wrong = [
        f"{place}: {line}: {why}"
        for place, line in lines
        if not f"{place}: {line}".startswith(tuple(MENTIONED)) and (why := objection(line))
    ]
    assert not wrong, "\n".join(wrong)
    idle = [key for key in MENTIONED if not any(f"{place}: {line}".startswith(key) for place, line in lines)]
    assert not idle, f"exceptions that nothing needs: {idle}"


def test_every_option_in_a_remedy_is_somebodys() -> None:
    """Also where the command is not repeated: `give --server-key and --key`."""
    known = {"--help"} | {
        option
        for command in walk(COMMAND)
        for parameter in command.params
        for option in (*parameter.opts, *parameter.secondary_opts)
    }
    for path in sorted((ROOT / "cli").glob("*.py")):
        for text in strings(path.read_text(encoding="utf-8")):
            assert set(OPTION.findall(text)) <= known, (path.name, text)


def walk(command: object) -> Iterator[object]:
    yield command
    for inner in getattr(command, "commands", {}).values():
        yield from walk(inner)


@pytest.mark.parametrize(
    ("text", "wrong"),
    [
        ("see 'edged engines pick'", None),
        ("try it: edged swap {} {}", None),
        ("sign it with 'edged pack MODEL --sign KEY', or not", None),
        ("start it (edged run FILE, or systemctl start)", None),
        ("'edged resume' arms it", "MissingParameter"),
        ("see 'edged engine pick'", "UsageError"),
        ("try edged swop pick 2", "UsageError"),
        ("edged pack MODEL --signed KEY", "NoSuchOption"),
        ("see 'edged keys old'", "UsageError"),
    ],
)
def test_a_wrong_one_is_caught(text: str, wrong: str | None) -> None:
    (line,) = commands(text)
    why = objection(line)
    assert (why is None) if wrong is None else (why or "").startswith(wrong), why


def typed(text: str) -> list[str]:
    """The one command that an output offers, as a shell takes it."""
    quoted = re.search(r"'edged (.*?)'(?: follows| arms| ends|$)", text, re.MULTILINE)
    line = quoted[1] if quoted else re.search(r"edged (\w[^;)]*)", text.partition("; ")[2] or text)[1]  # type: ignore[index]
    return shlex.split(line)


@pytest.mark.parametrize("folder", ["plain", "with a space"])
def test_the_next_command_of_a_swap_runs(machine: Machine, folder: str) -> None:
    file = machine.folder / folder / "pick.toml"
    file.parent.mkdir()
    file.write_text(f"[daemon]\nruntime = '{machine.folder}/own'\n", encoding="utf-8")
    with machine.daemon(machine.own):
        for word in (str(file), str(machine.own)):
            begun = edged("swap", word, "2")
            assert begun.code == 0, begun.err
            assert typed(begun.out) == ["status", word]
            assert edged(*typed(begun.out), "--json").code == 0


def test_the_remedy_of_two_stores_runs(machine: Machine) -> None:
    engine_store(machine.folder / "data" / "edged" / "engines", "1")
    with machine.daemon(machine.run / "pick", store=engine_store(machine.folder / "a store", "1")):
        done = edged("verify", "reach")
        remedy = re.search(r"say which: (--store .*), or name the daemon", done.err)
        assert remedy, done
        assert edged("verify", "reach", *shlex.split(remedy[1])).code == 0
        assert edged("verify", "pick").code == 0


def test_the_next_command_of_keys_can_be_typed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    new_key("release", tmp_path / "my keys")
    (line,) = (line for line in capsys.readouterr().out.splitlines() if line.startswith("secret"))
    assert typed(line.partition("sign with it: ")[2]) == ["pack", "MODEL", "--sign", f"{tmp_path}/my keys/release.pem"]
