"""One locator: every command that talks to a daemon takes the same words, and fails with the same words."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from fake_daemon import Machine, as_outsider, edged, machine

from edged.cli.locate import Located, locate
from edged.client import RequestError
from edged.core.errors import ConfigError, UsageError

__all__ = ["machine"]

ASKING = [
    ("status", "{}"),
    ("hold", "{}"),
    ("resume", "{}"),
    ("tail", "{}", "-n", "1"),
    ("swap", "{}", "2"),
    ("rollback", "{}"),
    ("reset", "{}"),
    ("engines", "{}"),
]


def commands(word: str) -> list[list[str]]:
    return [[part.format(word) for part in command] for command in ASKING]


def test_every_word_finds_the_same_daemon(machine: Machine) -> None:
    file = machine.folder / "pick.toml"
    file.write_text("[engine]\nname = 'reach'\n", encoding="utf-8")
    with machine.daemon(machine.session / "pick") as runtime:
        words = [
            "pick",
            str(file),
            str(runtime),
            f"{runtime}/",
            f"{runtime}/control",
            f"ipc://{runtime}/control",
            "reach",
        ]
        for word in words:
            assert locate(word).control == f"ipc://{runtime}/control", word
            assert edged("hold", word).out == f"{word}: held\n"
            assert edged("hold", word, "--reason", "caf\udce9").code == 0, "whatever the terminal makes of a letter"


def test_what_a_daemon_says_to_type_finds_it_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """It knows its own name alone, by which one with a runtime folder of its own is not found."""

    def refuse(*args: object, **options: object) -> None:
        raise RequestError("failed", "none was committed before 2; choose one of the store: edged swap pick VERSION")

    monkeypatch.setattr("edged.cli.locate.request", refuse)
    found = Located("/a cell/pick.toml", "ipc:///run/cell/control", Path("/run/cell"))
    with pytest.raises(RequestError, match=r"edged swap '/a cell/pick.toml' VERSION$"):
        found.ask("rollback")
    assert found.as_typed("see 'edged engines pick'") == "see 'edged engines '/a cell/pick.toml''"
    assert Located("cell.toml", "").as_typed("edged hold pick, then swap") == "edged hold cell.toml, then swap"


def test_a_service_is_found_by_name_and_by_file(machine: Machine) -> None:
    path = machine.service("pick")
    with machine.daemon(machine.run / "pick") as runtime:
        for word in ("pick", str(path), "reach"):
            assert locate(word).runtime == runtime
        (machine.folder / "link.toml").symlink_to(path)
        with pytest.raises(RequestError):  # another file's name is another unit's folder
            locate(str(machine.folder / "link.toml"))


def test_a_service_of_another_name_than_its_file(machine: Machine) -> None:
    copy = machine.folder / "pick.toml"
    copy.write_text("[daemon]\nname = 'arm'\n", encoding="utf-8")
    with machine.daemon(machine.run / "pick") as runtime:
        assert locate(str(copy)).runtime == runtime


def test_a_folder_of_its_own_is_the_only_one_looked_at(machine: Machine) -> None:
    file = machine.folder / "pick.toml"
    file.write_text("[daemon]\nruntime = 'own'\n", encoding="utf-8")
    with machine.daemon(machine.run / "pick"):
        with pytest.raises(RequestError, match=str(machine.own)):
            locate(str(file))
        with machine.daemon(machine.own) as runtime:
            assert locate(str(file)).runtime == runtime


def test_two_of_a_name_are_not_guessed_between(machine: Machine) -> None:
    with machine.daemon(machine.run / "pick") as service, machine.daemon(machine.session / "pick") as own:
        done = edged("hold", "pick")
        assert done.code == 2
        assert str(service) in done.err
        assert str(own) in done.err
        assert locate(str(own)).runtime == own


def test_two_that_run_the_same_engine_are_not_guessed_between(machine: Machine) -> None:
    with machine.daemon(machine.run / "left"), machine.daemon(machine.run / "right"):
        with pytest.raises(UsageError, match="left, right run reach"):
            locate("reach")
        assert locate("left").runtime == machine.run / "left"


def test_what_a_killed_daemon_left_hides_no_service(machine: Machine) -> None:
    (machine.session / "pick").mkdir(parents=True)
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(machine.session / "pick" / "control"))
    with machine.daemon(machine.run / "pick") as runtime:
        assert locate("pick").runtime == runtime


def test_a_fault_elsewhere_in_the_file_does_not_stop_a_hold(machine: Machine) -> None:
    file = machine.folder / "pick.toml"
    file.write_text("[loop]\nrate_hz = -5\n[guard.limit]\n[engine]\nnam = 3\n", encoding="utf-8")
    with machine.daemon(machine.session / "pick"):
        assert edged("hold", file).code == 0


@pytest.mark.parametrize("text", ["[daemon", "[daemon]\nname = 3\n", "[daemon]\nname = '../pick'\n"])
def test_a_file_that_names_no_daemon(machine: Machine, text: str) -> None:
    file = machine.folder / "pick.toml"
    file.write_text(text, encoding="utf-8")
    with pytest.raises(ConfigError):
        locate(str(file))


def test_nobody_there_is_said_alike_by_all(machine: Machine) -> None:
    with machine.daemon(machine.run / "inspect"):
        done = [edged(*command) for command in commands("pikc")]
    assert {one.code for one in done} == {1}
    (said,) = {one.err for one in done}
    assert said.startswith("edged: no daemon answers to pikc: none in ")
    assert str(machine.run / "pikc") in said
    assert str(machine.session / "pikc") in said
    assert said.endswith("here runs: inspect\n")
    assert said.count("\n") == 1


@pytest.mark.parametrize(("word", "meant"), [("inpsect", "inspect"), ("Inspect", "inspect"), ("pick", "")])
def test_a_name_that_is_nearly_one_of_those_here_is_asked_for(machine: Machine, word: str, meant: str) -> None:
    with machine.daemon(machine.run / "inspect"):
        said = edged("status", word).err
    assert ("did you mean" in said) == bool(meant)
    assert not meant or said.endswith(f"here runs: inspect; did you mean {meant}?\n")


@pytest.mark.parametrize("word", ["", "no/where", "nowhere.toml", "tcp://"])
def test_a_word_that_means_nothing_is_2_in_all(machine: Machine, word: str) -> None:
    for command in commands(word):
        if command[0] == "engines" and not word:
            continue  # every store
        done = edged(*command)
        assert (done.code, done.err.count("\n")) == (2, 1), (command, done)


def test_a_control_endpoint_on_the_network_wants_keys(machine: Machine) -> None:
    with pytest.raises(RequestError) as caught:
        locate("tcp://127.0.0.1:1").ask("status", timeout_ms=50)
    assert "--server-key and --key" in caught.value.remedy
    for command in ("status", "hold", "resume", "rollback", "reset", "engines", "tail"):
        assert "give both" in edged(command, "tcp://127.0.0.1:1", "--key", "me.key_secret").err


FREEZE = """
import os, signal, sys, zmq
router = zmq.Context().socket(zmq.ROUTER)
router.bind(f"ipc://{sys.argv[1]}/control")
print("up", flush=True)
os.kill(os.getpid(), signal.SIGSTOP)
"""


def test_a_frozen_one_is_found(machine: Machine) -> None:
    (machine.session / "pick").mkdir(parents=True)
    argv = [sys.executable, "-c", FREEZE, str(machine.session / "pick")]
    with subprocess.Popen(argv, stdout=subprocess.PIPE) as frozen:
        os.waitid(os.P_PID, frozen.pid, os.WSTOPPED)
        try:
            assert locate("pick").runtime == machine.session / "pick"
            with pytest.raises(RequestError):
                locate("pick").ask("status", timeout_ms=100)
        finally:
            frozen.send_signal(signal.SIGKILL)


def test_who_has_no_right_is_told_the_group_in_one_line(machine: Machine) -> None:
    path = machine.service("pick")
    with machine.daemon(machine.run / "pick"):
        words = ["pick", str(path), str(machine.run / "pick"), f"{machine.run}/pick/control"]
        lines = [["history"], *(["history", word] for word in words if word != str(path))]
        lines += [["set", word, "goal", "1"] for word in words]
        done = as_outsider(machine, [*lines, *(line for word in words for line in commands(word))])
    for one in done:
        assert (one.code, one.out) == (1, ""), one
        assert one.err.startswith("edged: you may not use "), one
        assert "use sudo" in one.err
        assert one.err.count("\n") == 1


def test_a_private_folder_of_somebody_else_is_not_trusted(machine: Machine) -> None:
    folder = machine.folder / f"edged-{os.getuid()}"
    with machine.daemon(folder / "pick"):
        folder.chmod(0o777)
        with pytest.raises(RequestError):
            locate("pick")
        folder.chmod(0o700)
        assert locate("pick").runtime == folder / "pick"


def test_looking_makes_nothing(machine: Machine) -> None:
    edged("status", "pick")
    assert list(Path(machine.folder).iterdir()) == []
