"""A PLC and a SCADA client that know the tables of docs/gateways.md and nothing of our code.

    python plc.py udp PORT_IN PORT_OUT LINE          triggers parts: `part N NS` on stdin, NS of CLOCK_MONOTONIC
    python plc.py opcua URL NAME

Prints what it would act on, whenever that changes: `NS ALIVE PARTS`, the parts that have passed. The standard library,
and asyncua for OPC UA, are all it uses.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import select
import socket
import struct
import sys
import time
from typing import Any

MS = 1_000_000
LOOK_S = 0.01
UDP_QUIET_NS, UDP_SURE_NS, UA_QUIET_NS = 200 * MS, 5 * MS, 1000 * MS
AGAIN_NS, GIVE_UP_NS = 50 * MS, 2000 * MS  # of a trigger that nobody acknowledges
HEAD = struct.Struct("<4sBBHI28xIHH8I")  # magic, version, playing, flags, life; line, alarms, acknowledged
OUTCOME = struct.Struct("<IIB23x")
SIZE, RESULTS_AT, ALIVE, PASS = 400, 144, 1, 1


class Said:
    """Prints what is new."""

    def __init__(self) -> None:
        self._last: Any = None

    def __call__(self, alive: bool, parts: set[int]) -> None:
        if (alive, parts) != self._last:
            self._last = (alive, parts)
            print(time.monotonic_ns(), int(alive), *sorted(parts), flush=True)


class Plc:
    """A line session `line` towards `edged gateway udp`."""

    def __init__(self, port: int, out: int, line: int) -> None:
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.bind(("127.0.0.1", port))
        self.socket.setblocking(False)
        self.to, self.line = ("127.0.0.1", out), line
        self.newest, self.moved_ns, self.since_ns, self.life = b"", 0, 0, -1
        self.waiting: dict[int, list[int]] = {}  # part -> when it passed, when it was told

    def hear(self) -> None:
        """Read all that waits: what was queued while we slept is old."""
        now_ns = time.monotonic_ns()
        while True:
            try:
                data = self.socket.recv(2048)
            except OSError:
                return
            if len(data) != SIZE or data[:5] != b"EDGU\x01":
                continue
            life = int.from_bytes(data[8:12], "little")
            ahead = (life - self.life) & 0xFFFFFFFF
            is_quiet = now_ns - self.moved_ns > UDP_QUIET_NS
            if ahead and (ahead < 1 << 31 or is_quiet or self.life < 0):
                self.since_ns = now_ns if is_quiet else self.since_ns
                self.newest, self.moved_ns, self.life = data, now_ns, life

    def look(self) -> tuple[bool, set[int]]:
        now_ns = time.monotonic_ns()
        if not self.newest or now_ns - self.moved_ns > UDP_QUIET_NS or self.moved_ns - self.since_ns < UDP_SURE_NS:
            return False, set()
        head = HEAD.unpack_from(self.newest)
        if not head[3] & ALIVE:
            return False, set()
        if head[5] == self.line:
            for part in head[8 : 8 + min(head[7], 8)]:
                self.waiting.pop(part, None)
        found = [OUTCOME.unpack_from(self.newest, RESULTS_AT + 32 * at) for at in range(8)]
        return True, {part for line, part, outcome in found if (line, outcome) == (self.line, PASS)}

    def tell(self) -> None:
        """Repeat the triggers that are not acknowledged."""
        now_ns = time.monotonic_ns()
        for part, (passed_ns, told_ns) in list(self.waiting.items()):
            if now_ns - passed_ns > GIVE_UP_NS:
                del self.waiting[part]  # rejected
            elif now_ns - told_ns >= AGAIN_NS:
                self.waiting[part][1] = now_ns
                ago_us = (time.monotonic_ns() - passed_ns) // 1000
                with contextlib.suppress(OSError):
                    self.socket.sendto(struct.pack("<4sBBHIII", b"EDGT", 1, 32, 0, self.line, part, ago_us), self.to)


def plc(port: str, out: str, line: str) -> None:
    one, said = Plc(int(port), int(out), int(line)), Said()
    begun = b""
    while True:
        if select.select([0, one.socket], [], [], LOOK_S)[0]:
            with contextlib.suppress(BlockingIOError):
                if select.select([0], [], [], 0)[0]:
                    if not (data := os.read(0, 65536)):
                        return
                    *lines, begun = (begun + data).split(b"\n")
                    for words in map(bytes.split, lines):
                        one.waiting[int(words[1])] = [int(words[2]), 0]
        one.hear()
        one.tell()
        said(*one.look())


async def scada(url: str, name: str) -> None:
    from asyncua import Client

    said = Said()
    while True:
        client = Client(url, timeout=1)
        try:
            await client.connect()
            await watch(client, name, said)
        except Exception:  # whatever it is, nobody is there
            said(False, set())
        with contextlib.suppress(Exception):
            await asyncio.wait_for(client.disconnect(), 0.5)
        await asyncio.sleep(0.1)


async def watch(client: Any, name: str, said: Said) -> None:
    """Until the server does not answer. What is read is one moment's; a life that stands still is nobody's."""
    from asyncua import ua

    space = await client.get_namespace_index("urn:edged:gateway")
    nodes = [ua.NodeId(f"{name}.{path}", space) for path in ("Alive", "Life", "Result.Part", "Result.Result")]
    life, moved_ns = None, 0
    while True:
        now_ns = time.monotonic_ns()
        try:
            read = client.uaclient.read_attributes(nodes, ua.AttributeIds.Value)
            values = [one.Value.Value if one.StatusCode.is_good() else None for one in await asyncio.wait_for(read, 1)]
        except asyncio.TimeoutError:
            said(False, set())
            raise
        if values[1] is not None and values[1] != life:
            life, moved_ns = values[1], now_ns
        is_alive = values[0] is True and now_ns - moved_ns <= UA_QUIET_NS
        passed = is_alive and values[3] == "PASS" and values[2] is not None
        said(is_alive, {values[2]} if passed else set())
        await asyncio.sleep(0.05)


if __name__ == "__main__":
    if sys.argv[1] == "udp":
        plc(*sys.argv[2:])
    else:
        asyncio.run(scada(*sys.argv[2:]))
