"""Whatever is at the other end of the output, a command ends in what it did, or in one line."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import warm
from fake_daemon import Machine, as_outsider, edged, machine
from typer.main import get_command

from edged.__main__ import main as entry
from edged.cli.commands import app
from edged.cli.output import printable, to_json

__all__ = ["machine"]


def shell(machine: Machine, line: str, **environ: str) -> subprocess.CompletedProcess[str]:
    """A line of bash in which `edged` is the command; the exit code is that of its first part."""
    script = f'edged() {{ {sys.executable} -m edged "$@"; }}; {line}; exit ${{PIPESTATUS[0]}}'
    return subprocess.run(
        ["bash", "-c", script],
        env={**os.environ, "XDG_RUNTIME_DIR": str(machine.folder), **environ},  # what else runs here is none of ours
        cwd=machine.folder,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


def ended(machine: Machine, command: str, out: int) -> tuple[int, str]:
    """Exit code and complaints of `edged COMMAND`, whose output goes to the descriptor `out`, which is closed here."""
    with tempfile.TemporaryFile() as complaints, Path(os.devnull).open("rb") as nothing:
        fds = nothing.fileno(), out, complaints.fileno()
        process = warm.Warm(("-m", "edged", *command.split()), os.environ, fds, machine.folder)
        os.close(out)
        code = process.wait(60)
        complaints.seek(0)
        return code, complaints.read().decode()


@pytest.mark.parametrize("reader", ["head -c 1", "true"])
@pytest.mark.parametrize("command", ["engines", "engines --json", "--help", "--show-completion"])
def test_a_reader_that_goes_away_is_no_error(machine: Machine, command: str, reader: str) -> None:
    if command == "--show-completion":  # it looks for the shell that it is a child of
        done = shell(machine, f"edged {command} | {reader}")
        assert (done.returncode, done.stderr) == (0, "")
        return
    read, write = os.pipe()
    with subprocess.Popen(reader.split(), stdin=read, stdout=subprocess.DEVNULL):
        os.close(read)
        assert ended(machine, command, write) == (0, "")


def test_the_exit_code_is_what_was_found_whoever_reads(machine: Machine) -> None:
    assert shell(machine, "edged dance 2>&1 | true").returncode == 2
    assert shell(machine, "edged list | true").returncode == 1
    done = shell(machine, "_EDGED_COMPLETE=source_bash edged | true")
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize(
    "command", ["engines", "engines --json", "version", "doctor --json", "history", "history --json", "init plate"]
)
def test_a_full_disk_is_told_in_one_line(machine: Machine, command: str) -> None:
    code, complaint = ended(machine, command, os.open("/dev/full", os.O_WRONLY))
    assert code == 1
    assert "No space left on device" in complaint
    assert complaint.count("\n") == 1


@pytest.mark.parametrize(
    "command",
    ["engines", "status nobody", "verify nothing/1", "--help", "swap --help", "doctor", "init plate", "gateway --help"],
)
def test_forty_columns_of_ascii_are_enough(machine: Machine, command: str) -> None:
    ascii_only = {"LC_ALL": "C", "PYTHONCOERCECLOCALE": "0", "PYTHONUTF8": "0", "COLUMNS": "40"}
    done = shell(machine, f"edged {command}", **ascii_only)
    assert "Traceback" not in done.stderr
    assert done.stdout.isascii()
    assert done.stdout or done.stderr.count("\n") == 1


@pytest.mark.parametrize("command", ["status ./{}", "verify {}", "infer plate {}", "history {}.toml"])
def test_a_name_that_no_disk_takes_is_told_in_one_line(machine: Machine, command: str) -> None:
    done = edged(*command.format("a" * 300).split())
    assert done.code in (1, 2)
    assert done.err.count("\n") == 1


def test_a_folder_that_is_closed_is_told_in_one_line(machine: Machine) -> None:
    place = machine.state / "engines" / "reach" / "1"
    place.mkdir(parents=True)
    (done,) = as_outsider(machine, [["verify", str(place)]])
    assert done.code in (1, 2)
    assert done.err.count("\n") == 1


def test_what_is_our_own_fault_keeps_its_trace(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken() -> None:
        raise FileNotFoundError(2, "No such file or directory", "/a/file/of/ours")

    monkeypatch.setattr("edged.cli.main.app", broken)
    with pytest.raises(FileNotFoundError):
        edged("list")


def test_names_that_are_not_utf8_are_spelt_out_for_programs() -> None:
    told = {"failed": {"caf\udce9.png": ["\udce9", 1.5, None]}, "none": float("nan")}
    assert json.loads(to_json(told)) == {"failed": {"caf\\udce9.png": ["\\udce9", 1.5, None]}, "none": None}


def test_a_shell_completes_commands_and_options(machine: Machine) -> None:
    asked = {"_EDGED_COMPLETE": "complete_bash", "COMP_CWORD": "1"}
    code = "import sys; sys.argv = ['edged']; from edged.__main__ import main; main()"

    def offered(words: str, number: str = "1") -> str:
        environ = {**os.environ, **asked, "COMP_WORDS": words, "COMP_CWORD": number}
        done = subprocess.run([sys.executable, "-c", code], env=environ, capture_output=True, text=True, check=False)
        assert done.stderr == ""
        return done.stdout

    assert offered("edged st").split() == ["status"]
    assert "--wait" in offered("edged swap --w", "2")


def test_an_interrupt_is_no_traceback(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """Whenever it comes, while packages are imported too."""

    def interrupted() -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("edged.cli.main.main", interrupted)
    with pytest.raises(SystemExit) as ended:
        entry()
    assert ended.value.code == 130
    assert capsys.readouterr().err == ""


def helps(command: Any) -> Iterator[str]:
    yield from (command.help or "", command.epilog or "", *(getattr(one, "help", None) or "" for one in command.params))
    for one in getattr(command, "commands", {}).values():
        yield from helps(one)


def test_no_word_of_a_help_is_taken_for_markup() -> None:
    """What stands in square brackets, as a section of a TOML file does, is not printed."""
    texts = list(helps(get_command(app)))
    assert len(texts) > 200
    assert [text for text in texts if re.search(r"\[[a-z#/@]", text)] == []


def test_what_is_quoted_cannot_steer_the_terminal() -> None:
    assert printable("a\tb\n\x1b[2Jc\x07\u202e") == "a\tb\n\ufffd[2Jc\ufffd\ufffd"
