"""A PLC in C beside `edged gateway udp`: parts, their results, and what it must never believe."""

from __future__ import annotations

import contextlib
import time

import numpy as np
from parts_line import DELAY_MS, HEIGHT, MS, WIDTH, parts_cell
from plc import Plc
from rig import Rig, free_port, rig
from waiting import until

from edged.client import FrameSender

__all__ = ["rig"]


def test_a_plc_gets_the_results_of_its_parts_and_never_an_old_one(rig: Rig) -> None:
    config = rig.config(**parts_cell(rig))
    port, out = free_port(), free_port()
    words = ("gateway", "udp", str(config), f"--to=127.0.0.1:{port}", f"--listen=127.0.0.1:{out}", "--result-ms=60000")
    gateway = rig.process("gateway", "-m", "edged", *words, XDG_RUNTIME_DIR=str(rig.folder))
    with (
        contextlib.closing(Plc(rig.folder, port, out)) as plc,
        FrameSender(f"ipc://{rig.folder}/camera", "camera", queue=64) as frames,
    ):

        def part(number: int, brightness: int | None) -> None:
            plc.part(number)
            captured_ns = time.monotonic_ns() + DELAY_MS * MS
            time.sleep(DELAY_MS / 1e3)
            if brightness is not None:
                frames.send(np.full((HEIGHT, WIDTH, 3), brightness, np.uint8), captured_ns)

        def came(number: int) -> str:
            return until(lambda: (said := plc.outcome(number)[0]) != "NONE" and said, what=lambda: plc.lines[-3:])

        time.sleep(0.5)
        assert plc.last == "alive=0", "the gateway speaks, the daemon does not: the fail-safe"
        daemon = rig.daemon(config)
        daemon.wait_status(lambda status: status["engine"].get("version"))
        assert frames.wait_readers(1, 10_000)
        until(lambda: "alive=1" in plc.last, what=lambda: (plc.lines[-3:], gateway.said))
        wanted = {1: (0, {"PASS"}), 2: (255, {"FAIL"}), 3: (None, {"NOT_INSPECTED"})}
        for number, (brightness, _) in wanted.items():
            part(number, brightness)
            until(lambda: f"ack={number}" in plc.last, what=lambda: plc.lines[-3:])  # noqa: B023
        for number, (_, may) in wanted.items():
            # a machine that stood still may have taken the picture too late: never the other way round
            assert came(number) in may | {"NOT_INSPECTED"}
        judged = [plc.outcome(number) for number in wanted if plc.outcome(number)[0] in ("PASS", "FAIL")]
        engine = daemon.status()["engine"]["identity"][:16]
        assert {named for _, named in judged} <= {engine}
        assert judged, plc.last

        daemon.kill()
        until(lambda: plc.last == "alive=0", 5, what=lambda: plc.lines[-3:])
        since = len(plc.lines)
        daemon = rig.daemon(config)
        daemon.wait_status(lambda status: status["engine"].get("version"))
        until(lambda: "alive=1" in plc.last, what=lambda: (plc.lines[-3:], gateway.said))
        assert not any("PASS" in line for line in plc.lines[since:]), "of a part from before"

        gateway.freeze()
        until(lambda: plc.last == "alive=0", 5, what=lambda: plc.lines[-3:])
        gateway.thaw()
        until(lambda: "alive=1" in plc.last, 5, what=lambda: plc.lines[-3:])
        assert gateway.terminate() == 0
        until(lambda: plc.last == "alive=0", 5, what=lambda: plc.lines[-3:])
