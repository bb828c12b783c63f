"""What the kernel knows of a connection that is libzmq's: its ends, and what waits in it."""

from __future__ import annotations

import fcntl
import socket
import struct


def port(endpoint: str) -> int:
    """Of a TCP endpoint; 0 = it is none."""
    return int(endpoint.rpartition(":")[2]) if endpoint.startswith("tcp://") else 0


def name(connection: socket.socket) -> str | int:
    """Our end: the path of an ipc endpoint, the port of a tcp one."""
    name = connection.getsockname()
    if connection.family == socket.AF_UNIX:
        return name if isinstance(name, str) else bytes(name).decode(errors="replace")
    return int(name[1])


def owner(descriptor: int) -> str:
    """Who is at the other end: a process of this machine, or a host."""
    try:
        connection = socket.socket(fileno=descriptor)
    except OSError:
        return "gone"
    try:
        if connection.family == socket.AF_UNIX:
            pid, uid, _ = struct.unpack("3i", connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))
            return f"pid {pid}, uid {uid}"
        return f"host {connection.getpeername()[0]}"
    except OSError:
        return "gone"
    finally:
        connection.detach()


def owner_at(address: str, like: str) -> str:
    """The same of libzmq's word for it: `...:uid:group:pid` of a process, else the host."""
    if like.startswith("host "):
        return f"host {address}"
    uid, _, pid = address.split(":")[-3:] if address.count(":") >= 3 else ("", "", "")
    return f"pid {pid}, uid {uid}"


def queued(descriptor: int, direction: int) -> int:
    """Bytes of a connection that wait in the kernel, to us or from us; 0 when that is unknown."""
    try:
        return int(struct.unpack("i", fcntl.ioctl(descriptor, direction, bytes(4)))[0])
    except OSError:
        return 0
