"""`edged gateway opcua` beside asyncua's client: what is so, by whose engine, and who may act."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from asyncua import Client, ua
from asyncua.crypto.cert_gen import setup_self_signed_certificate
from asyncua.crypto.security_policies import SecurityPolicyBasic256Sha256
from cryptography.x509.oid import ExtendedKeyUsageOID
from parts_line import HEIGHT, WIDTH, parts_cell
from rig import Rig, free_port, rig

from edged.client import FrameSender

__all__ = ["rig"]


async def made(folder: Path, name: str, use: Any) -> tuple[Path, Path]:
    """A key and a self-signed certificate."""
    key, certificate = folder / f"{name}.key.pem", folder / f"{name}.der"
    facts = {"commonName": name, "countryName": "DE"}
    await setup_self_signed_certificate(key, certificate, f"urn:test:{name}", "localhost", [use], facts)
    return key, certificate


class Camera(threading.Thread):
    """Sends dark pictures all the time: each trigger has one in its window, sometimes two."""

    def __init__(self, folder: Path) -> None:
        super().__init__(daemon=True)
        self.sender = FrameSender(f"ipc://{folder}/camera", "camera", queue=64)
        self.ended = threading.Event()
        self.start()

    def run(self) -> None:
        image = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
        while not self.ended.wait(0.017):
            self.sender.send(image)
        self.sender.close()


class Scada:
    """A client, with or without a certificate."""

    def __init__(self, port: int) -> None:
        self.client = Client(f"opc.tcp://127.0.0.1:{port}/edged/", timeout=20)

    async def secure(self, key: Path, certificate: Path, server: Path, name: str) -> None:
        self.client.application_uri = f"urn:test:{name}"
        await self.client.set_security(
            SecurityPolicyBasic256Sha256, certificate, key, None, server, ua.MessageSecurityMode.SignAndEncrypt
        )

    async def open(self) -> Scada:
        await self.client.connect()
        self.space = await self.client.get_namespace_index("urn:edged:gateway")
        return self

    def node(self, name: str) -> Any:
        return self.client.get_node(ua.NodeId(f"cell.{name}", self.space))

    async def value(self, name: str) -> Any:
        """None: it has no good value."""
        data = await self.node(name).read_data_value(raise_on_bad_status=False)
        return data.Value.Value if data.StatusCode.is_good() else None

    async def call(self, name: str, *arguments: ua.Variant) -> Any:
        return await self.client.get_node(ua.NodeId("cell", self.space)).call_method(self.node(name), *arguments)

    async def until(self, wanted: Callable[[], Awaitable[Any]], seconds: float = 40) -> Any:
        end = time.monotonic() + seconds
        while not (found := await wanted()):
            assert time.monotonic() < end, {name: await self.value(name) for name in ("Alive", "State", "Pending")}
            await asyncio.sleep(0.05)
        return found


async def connected(scada: Callable[[], Scada]) -> Scada:
    for _ in range(200):
        try:
            return await scada().open()
        except (OSError, asyncio.TimeoutError):
            await asyncio.sleep(0.1)
    raise AssertionError("nobody listens")


def test_scada_reads_what_is_so_and_only_a_certificate_acts(rig: Rig) -> None:
    asyncio.run(play(rig))


async def play(rig: Rig) -> None:
    trusted = rig.folder / "trusted"
    trusted.mkdir()
    server_key, server = await made(rig.folder, "server", ExtendedKeyUsageOID.SERVER_AUTH)
    key, certificate = await made(rig.folder, "operator", ExtendedKeyUsageOID.CLIENT_AUTH)
    other_key, other_certificate = await made(rig.folder, "stranger", ExtendedKeyUsageOID.CLIENT_AUTH)
    (trusted / "operator.der").write_bytes(certificate.read_bytes())
    config, port = rig.config(**parts_cell(rig, camera="free")), free_port()
    words = ["gateway", "opcua", str(config), f"--listen=127.0.0.1:{port}", f"--certificate={server}"]
    words += [f"--key={server_key}", f"--trusted={trusted}", "--result-ms=30000"]
    gateway = rig.process("gateway", "-m", "edged", *words, XDG_RUNTIME_DIR=str(rig.folder))
    reader = await connected(lambda: Scada(port))
    assert await reader.value("Alive") is False
    assert [await reader.value(name) for name in ("State", "Engine", "Pending", "Result.Result")] == [None] * 4

    camera = Camera(rig.folder)
    daemon = await asyncio.to_thread(rig.daemon, config)
    status = await asyncio.to_thread(daemon.wait_status, lambda now: now["engine"].get("version"))
    await reader.until(lambda: reader.value("Alive"))
    await reader.until(lambda: reader.value("EngineVersion"))
    assert await reader.value("EngineVersion") == status["engine"]["version"]

    part = (ua.Variant("line 1", ua.VariantType.String), ua.Variant(1, ua.VariantType.UInt64))
    for stranger in (reader, await stranger_of(port, other_key, other_certificate, server)):
        with pytest.raises(ua.UaStatusCodeError):
            await stranger.call("Trigger", *part)
        with pytest.raises(ua.UaStatusCodeError):
            await stranger.node("State").write_value("OK")
        assert await stranger.value("Alive"), "reading goes on"

    operator = Scada(port)
    await operator.secure(key, certificate, server, "operator")
    await operator.open()
    with pytest.raises(ua.UaStatusCodeError):
        await operator.node("State").write_value("OK")
    await operator.until(lambda: triggered(operator, 1))
    await operator.until(lambda: operator.value("Result.Result"))
    result = {
        name: await reader.value(f"Result.{name}") for name in ("Line", "Part", "Result", "Why", "Engine", "Entry")
    }
    assert (result["Line"], result["Part"]) == ("line 1", 1)
    assert result["Result"] in ("PASS", "NOT_INSPECTED"), "two pictures in its window, on a slow machine"
    if result["Result"] == "PASS":
        assert len(result["Engine"]) == 16
    assert await operator.call("Acknowledge", ua.Variant(result["Entry"], ua.VariantType.UInt64)) == 0
    await operator.until(lambda: pending(operator, 0))
    assert await reader.value("Result.Result") is None

    await operator.until(lambda: triggered(operator, 2))
    await operator.until(lambda: operator.value("Result.Result"))
    daemon.kill()
    await reader.until(lambda: gone(reader), 20)
    assert [await reader.value(name) for name in ("State", "Engine", "Pending", "Result.Result")] == [None] * 4
    life = await reader.value("Life")
    await reader.until(lambda: moved(reader, life))
    for one in (reader, operator):
        await one.client.disconnect()
    camera.ended.set()
    assert await asyncio.to_thread(gateway.terminate) == 0


async def stranger_of(port: int, key: Path, certificate: Path, server: Path) -> Scada:
    stranger = Scada(port)
    await stranger.secure(key, certificate, server, "stranger")
    return await stranger.open()


async def triggered(scada: Scada, part: int) -> bool:
    """False: the machine has kept the gateway from its turn, and the call may have waited."""
    try:
        line = ua.Variant("line 1", ua.VariantType.String)
        return bool(await scada.call("Trigger", line, ua.Variant(part, ua.VariantType.UInt64)))
    except ua.uaerrors.BadTimeout:
        return False


async def pending(scada: Scada, count: int) -> bool:
    return bool(await scada.value("Pending") == count)


async def gone(scada: Scada) -> bool:
    return await scada.value("Alive") is False


async def moved(scada: Scada, life: int) -> bool:
    return bool(await scada.value("Life") != life)


def test_without_any_way_to_connect_it_says_so(rig: Rig) -> None:
    config = rig.config(**parts_cell(rig))
    done = rig.edged("gateway", "opcua", str(config), "--listen=0.0.0.0:4840")
    assert done.returncode == 2
    assert "nobody could connect" in done.stderr
    (rig.folder / "none").mkdir()
    words = ("--certificate=a", "--key=b", f"--trusted={rig.folder / 'none'}")
    done = rig.edged("gateway", "opcua", str(config), *words)
    assert done.returncode == 2
    assert "no certificates of clients" in done.stderr
