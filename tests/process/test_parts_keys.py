"""Triggers over TCP: who holds an operator's key triggers, who may read reads results, a stranger is not heard."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
import zmq.auth
from parts_line import parts_cell
from rig import Rig, free_port, rig

from edged.client import CurveKeys, FrameSender, PartResult, PartResults, TriggerSender

__all__ = ["rig"]


def keys_of(rig: Rig, server: Path, secret: Path) -> CurveKeys:
    daemon, _ = zmq.auth.load_certificate(server)
    public, own = zmq.auth.load_certificate(secret)
    assert own is not None
    return CurveKeys(daemon, public, own)


def test_only_an_operators_key_triggers(rig: Rig) -> None:
    keys, clients = rig.folder / "keys", rig.folder / "clients"
    for name in ("daemon", "plc", "reader", "stranger"):
        assert rig.edged("keys", "curve", name, "--dir", str(keys)).returncode == 0
    clients.mkdir()
    assert rig.edged("keys", "allow", str(keys / "plc.key"), str(clients), "--operate").returncode == 0
    assert rig.edged("keys", "allow", str(keys / "reader.key"), str(clients)).returncode == 0
    triggers, results = (f"tcp://127.0.0.1:{free_port()}" for _ in range(2))
    cell = parts_cell(rig)
    cell["bus"] = (
        f"secret_key = '{keys / 'daemon.key_secret'}'\nauthorized = '{clients}'\n"
        f"bind = {{triggers = '{triggers}', results = '{results}'}}"
    )
    daemon = rig.daemon(rig.config(**cell))
    plc, reader, stranger = (keys_of(rig, keys / "daemon.key", keys / f"{name}.key_secret")
                             for name in ("plc", "reader", "stranger"))  # fmt: skip
    with FrameSender(f"ipc://{rig.folder}/camera", "camera") as frames:
        daemon.wait_status(lambda status: status["engine"].get("version"))
        assert frames.wait_readers(1, 10_000)
        with (
            PartResults(results, "cell/results", triggers, keys=reader) as told,
            TriggerSender(triggers, "line", keys=plc) as allowed,
            TriggerSender(triggers, "other", keys=reader) as refused,
            TriggerSender(triggers, "another", keys=stranger) as unheard,
            TriggerSender(triggers, "open") as keyless,
        ):
            told.receive(0)
            deadline = time.monotonic() + 30
            heard: list[PartResult] = []
            for sender in (refused, unheard, keyless):
                sender.send()
            while not heard and time.monotonic() < deadline:
                allowed.send()
                time.sleep(0.005)
                frames.send(np.zeros((48, 64, 3), np.uint8))
                for sender in (allowed, refused, unheard, keyless):
                    sender.tend(20)
                heard += told.receive(200)
            until = time.monotonic() + 20
            while not refused.refused and time.monotonic() < until:
                refused.tend(50)
            assert {one.line for one in heard} == {"line"}
            assert heard[0].result in ("PASS", "NOT_INSPECTED")
            assert not allowed.refused
            ((number, why),) = refused.refused
            assert number == 0
            assert "may read, not trigger" in why
            assert "--operate" in why
            assert unheard.waiting
            assert keyless.waiting
    lines = (rig.store / ".history" / "cell" / "parts").glob("*.jsonl")
    written = "".join(path.read_text() for path in lines)
    assert '"line": "line"' in written
    assert not any(f'"line": "{name}"' in written for name in ("other", "another", "open"))
