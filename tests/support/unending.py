"""A publisher by hand whose message never ends: `python unending.py PATH`, until it is killed.

libzmq's own publisher keeps an unfinished message to itself, so the parts are written to the socket as they are.
"""

from __future__ import annotations

import contextlib
import socket
import struct
import sys
import time

SIZE = 1000
RATE = 400e6  # bytes a second at the most: how much arrives before a reader acts is not the machine's to say
GREETING = b"\xff" + bytes(8) + b"\x7f\x03\x00NULL" + bytes(16) + b"\x00" + bytes(31)
READY = b"\x05READY\x0bSocket-Type" + struct.pack(">I", 3) + b"PUB"
MORE_AND_LONG = b"\x03"
PART = MORE_AND_LONG + struct.pack(">Q", SIZE) + b"state\0\0\0" + bytes(SIZE - 8)


def main(path: str) -> None:
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(path)
        listening.listen(8)
        while True:
            with listening.accept()[0] as connection, contextlib.suppress(OSError):
                print("connected", flush=True)
                connection.sendall(GREETING)
                heard = b""
                while len(heard) < len(GREETING):
                    heard += connection.recv(4096) or sys.exit("no reader")
                connection.sendall(b"\x04" + bytes([len(READY)]) + READY)
                began_s, sent = time.monotonic(), 0
                while True:
                    connection.sendall(PART * 16)
                    sent += 16 * len(PART)
                    time.sleep(max(0.0, sent / RATE - (time.monotonic() - began_s)))


if __name__ == "__main__":
    main(*sys.argv[1:])
