"""What keeps a daemon from starting and how it says so; how it ends; what it reads again."""

from __future__ import annotations

import re
import signal
import socket
import time

import numpy as np
import pytest
from rig import Rig, camera_cell, free_port, holds, is_action, rig, state_cell
from waiting import until

from edged.core.types import Reason

__all__ = ["rig"]

NOT_NEEDED = (
    "edged.client", "edged.services", "edged.bundle.urdf", "edged.engine.plug_in", "edged.swap.drop_watcher",
    "asyncio", "ssl", "watchfiles", "xml", "pydantic_settings",
)  # fmt: skip
"""By a daemon that asks for no more than most: each costs time at every start, and memory for as long as it runs."""


def test_a_daemon_imports_what_its_config_asks_for(rig: Rig) -> None:
    daemon = rig.daemon(rig.config(**camera_cell(rig, swap="incoming = false")), PYTHONPROFILEIMPORTTIME="1")
    rig.camera()
    daemon.listen().wait(is_action)
    daemon.terminate()
    imported = set(re.findall(r"import time:.*\| +(\S+)$", daemon.said, re.MULTILINE))
    assert {"edged.daemon", "edged.engine.ort_cpu"} < imported
    commands = {"edged.cli", "edged.cli.main", "edged.cli.config_arg", "edged.cli.output"}
    assert {name for name in imported if name.startswith("edged.cli")} == commands
    assert {name for name in imported if name.startswith(NOT_NEEDED)} == set()


def test_garbage_is_collected_again_before_the_first_tick(rig: Rig) -> None:
    path = rig.config(**state_cell(rig))
    code = "import gc, sys, edged.daemon as daemon; daemon.Loop.run = lambda loop: print('collects:', gc.isenabled()); "
    code += f"sys.argv[1:] = ['run', {str(path)!r}]; from edged.__main__ import main; main()"
    process = rig.process("collects", "-c", code, XDG_RUNTIME_DIR=str(rig.folder))
    assert process.exit_code() == 0, process.said
    assert "collects: True" in process.said


def test_a_second_daemon_of_the_name_ends_with_1_and_names_the_first(rig: Rig) -> None:
    rig.feed("state", np.zeros(15))
    path = rig.config(**state_cell(rig))
    first = rig.daemon(path)
    actions = first.listen()
    actions.wait(is_action)
    second = rig.edged("run", str(path))
    assert second.returncode == 1
    assert f"daemon cell is already running with pid {first.pid}" in second.stderr
    assert "stop it first" in second.stderr
    actions.wait(is_action, actions.mark())
    first.kill()  # what it left does not keep its successor out
    rig.daemon(path).listen().wait(is_action)


def test_two_daemons_may_not_share_one_hold(rig: Rig) -> None:
    first = rig.daemon(rig.config(**state_cell(rig)))
    first.status()
    elsewhere = rig.config("other", **state_cell(rig), daemon=f"name = 'cell'\nruntime = '{rig.folder}/other'")
    second = rig.edged("run", str(elsewhere))
    assert second.returncode == 1
    assert f"daemon cell is already running with pid {first.pid}" in second.stderr


def test_two_daemons_may_not_run_one_engine_of_a_store(rig: Rig) -> None:
    """What one commits, prunes and finds in incoming would be the other's too. Nor of one that is not there yet."""
    store = str(rig.folder / "new")
    first = rig.daemon(rig.config(**state_cell(rig), store=store))
    first.status()
    other = rig.config("other", **state_cell(rig), daemon="name = 'other'", store=store)
    second = rig.edged("run", str(other))
    assert second.returncode == 1
    assert f"another daemon runs bench-state from {store}, with pid {first.pid}" in second.stderr
    assert "give this one a [daemon] store of its own" in second.stderr


def test_an_endpoint_in_use_is_waited_for_and_then_named(rig: Rig) -> None:
    port = free_port()
    bus = f"valid_ms = 1000\nbind = {{action = 'tcp://127.0.0.1:{port}'}}"
    path = rig.config(**state_cell(rig, bus=bus))
    with socket.create_server(("127.0.0.1", port)):
        began = time.monotonic()
        refused = rig.edged("run", str(path))
        waited = time.monotonic() - began
    assert refused.returncode == 1
    assert f"cannot bind tcp://127.0.0.1:{port}: Address already in use" in refused.stderr
    assert "change [bus] bind" in refused.stderr
    assert waited >= 5

    rig.feed("state", np.zeros(15))
    with socket.create_server(("127.0.0.1", port)):
        daemon = rig.daemon(path)
        until(lambda: (daemon.runtime / "lock").exists(), 30, lambda: daemon.said)
        time.sleep(0.5)
    daemon.listen(endpoint=f"tcp://127.0.0.1:{port}").wait(is_action)  # it had patience with a predecessor


@pytest.mark.parametrize(
    ("section", "text", "sets", "says"),
    [
        ("loop", "rate_hz = 0", (), "loop.rate_hz"),
        ("loop", "speed = 3", (), "loop.speed"),
        ("bus", "valid_ms = -1", (), "bus.valid_ms"),
        ("swap", "", ("--set=loop.rate_hz=fast",), "loop.rate_hz"),
        ("swap", "", ("--set=guard.start=armed",), "guard"),
    ],
)
def test_a_config_that_is_wrong_by_itself_ends_with_2(
    rig: Rig, section: str, text: str, sets: tuple[str, ...], says: str
) -> None:
    path = rig.config(**{**state_cell(rig), section: text})
    done = rig.edged("run", str(path), *sets)
    assert done.returncode == 2, done.stderr
    assert says in done.stderr
    assert "Traceback" not in done.stderr


def test_a_file_that_is_no_toml_or_not_there_ends_with_2(rig: Rig) -> None:
    path = rig.folder / "cell.toml"
    assert rig.edged("run", str(path)).returncode == 2
    path.write_text("[daemon\n", encoding="utf-8")
    done = rig.edged("run", str(path))
    assert done.returncode == 2
    assert "cell.toml" in done.stderr


def test_a_runtime_folder_that_cannot_be_made_ends_with_1_and_the_remedy(rig: Rig) -> None:
    (rig.folder / "edged").write_text("in the way", encoding="utf-8")
    done = rig.edged("run", str(rig.config(**state_cell(rig))))
    assert done.returncode == 1
    assert "check [daemon] runtime" in done.stderr


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_it_says_goodbye_when_told_to_end(rig: Rig, number: signal.Signals) -> None:
    rig.feed("state", np.zeros(15))
    daemon = rig.daemon(rig.config(**state_cell(rig)))
    actions = daemon.listen()
    actions.wait(is_action)
    daemon.send(number)
    assert daemon.exit_code() == 0, daemon.said
    last = actions.wait(holds(Reason.STOPPING))
    assert last.stop
    assert last is actions.messages[-1]


def test_it_ends_in_time_while_nothing_around_it_answers(rig: Rig) -> None:
    sections = camera_cell(rig, loop="clock = 'timer'\nrate_hz = 0.2", bus="")
    daemon = rig.daemon(rig.config(**sections))
    daemon.status()
    began = time.monotonic()
    assert daemon.terminate() == 0
    assert time.monotonic() - began < 5 * 0.9  # it does not wait for the next slot of its grid


def test_sighup_reads_the_log_section_again_and_nothing_else(rig: Rig) -> None:
    rig.feed("state", np.zeros(15))
    sections = state_cell(rig, log="level = 'info'\nformat = 'text'")
    daemon = rig.daemon(rig.config(**sections))
    actions = daemon.listen()
    actions.wait(is_action)
    rate_hz = daemon.status()["daemon"]["rate_hz"]
    loop = f"clock = 'timer'\nrate_hz = {rate_hz * 2}"
    rig.config(**{**sections, "loop": loop, "log": "level = 'info'\nformat = 'json'"})
    daemon.send(signal.SIGHUP)
    until(lambda: '"message":"SIGHUP: [log] read again' in daemon.said, 30, lambda: daemon.said)
    assert daemon.status()["daemon"]["rate_hz"] == rate_hz
    rig.config(**{**sections, "log": "level = 'loud'"})
    daemon.send(signal.SIGHUP)
    until(lambda: "log.level" in daemon.said, 30, lambda: daemon.said)
    actions.wait(is_action, actions.mark())


def test_what_a_kernel_refuses_is_a_warning_in_health(rig: Rig) -> None:
    rig.feed("state", np.zeros(15))
    daemon = rig.daemon(rig.config(**state_cell(rig)), "--set=loop.cpus=[1023]")
    actions = daemon.listen()
    actions.wait(is_action)
    (warning,) = (text for text in daemon.status()["warnings"] if "loop.cpus" in text)
    assert "1023" in warning
    assert "this machine has" in warning
    assert f"warning  {warning}" in rig.edged("status", "cell").stdout
