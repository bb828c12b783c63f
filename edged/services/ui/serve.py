"""Serve: the page on one address, until interrupted. The network only with TLS, and then only for people who log in."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import uvicorn

from edged.core.errors import EdgedError, UsageError
from edged.services.address import is_loopback, parse_listen
from edged.services.given import check_readable
from edged.services.metrics.serve import Gpu
from edged.services.ui.app import make_app
from edged.services.ui.cell import Cell, History, May, Recordings, no_recordings
from edged.services.ui.door import PatientProtocol
from edged.services.ui.people import people_file, read_people
from edged.services.ui.sessions import Sessions

NICE = 10  # whoever looks never takes the processor from what moves
GRACE_S = 2
MOST_AT_ONCE = 64


@dataclass(frozen=True, slots=True)
class Settings:
    """How the page is served. `names`: what else it is called by browsers, as HOST or HOST:PORT."""

    listen: str
    may: May = field(default_factory=May)
    people: Path = field(default_factory=people_file)
    certificate: Path | None = None
    key: Path | None = None
    names: Sequence[str] = ()
    gpu: Gpu = dict
    recordings: Recordings = no_recordings


def serve(
    find: Callable[[], Iterable[Path]], history: History, settings: Settings, ready: Callable[[str], None]
) -> None:
    """Answer until interrupted. Raises `UsageError` for settings that would let in whom nobody knows, and
    for files that cannot be read."""
    host, port = parse_listen(settings.listen)
    is_open, tls = is_loopback(host), settings.certificate is not None
    _check(settings, host, is_open)
    scheme = "https" if tls else "http"
    cell = Cell(find, history, settings.may, settings.gpu, settings.recordings)
    sessions = Sessions(lambda: read_people(settings.people))
    app = make_app(cell, sessions, _hosts(host, port, scheme, settings.names), scheme, is_open)
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        os.nice(NICE)
        with socket.socket(family, socket.SOCK_STREAM) as listener:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind((host, port))
            config = uvicorn.Config(
                app, log_level="warning", access_log=False, server_header=False, proxy_headers=False, lifespan="on",
                timeout_graceful_shutdown=GRACE_S, limit_concurrency=MOST_AT_ONCE, ws="none", loop="asyncio",
                log_config=None, http=PatientProtocol, ssl_certfile=settings.certificate, ssl_keyfile=settings.key,
            )  # fmt: skip
            config.load()
            _Announced(config, lambda: ready(f"{scheme}://{settings.listen}")).run(sockets=[listener])
    except OSError as error:
        raise EdgedError(
            f"{settings.listen}: {error.strerror or error}", "give another --listen, or check the files"
        ) from None
    except KeyboardInterrupt:
        return


class _Announced(uvicorn.Server):
    """Says so once it listens: whoever reads the address may come at once."""

    def __init__(self, config: uvicorn.Config, ready: Callable[[], None]) -> None:
        super().__init__(config)
        self._ready = ready

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if self.started:
            self._ready()


def _check(settings: Settings, host: str, is_open: bool) -> None:
    if (settings.certificate is None) != (settings.key is None):
        raise UsageError("a certificate and its key belong together", "give both --certificate and --key")
    check_readable({"--certificate": settings.certificate, "--key": settings.key})
    if not is_open and settings.certificate is None:
        raise UsageError(f"{host} can be reached from the network: pictures and passwords would be read on the way",
                         "give --certificate and --key, or listen on 127.0.0.1 and come by ssh -L")  # fmt: skip
    if settings.may.arm and not settings.may.operate:
        raise UsageError("--arm is an act", "give --operate with it")
    if (settings.may.operate or not is_open) and not read_people(settings.people):
        raise UsageError(
            f"{settings.people} has nobody who could log in", "add somebody: edged person NAME --rights hold"
        )


def _hosts(host: str, port: int, scheme: str, names: Sequence[str]) -> list[str]:
    """What the Host header may say: the address itself, `localhost` on a loopback, and what `names` add."""
    known = [f"[{host}]" if ":" in host else host, *names]
    if is_loopback(host):
        known += ["localhost", "127.0.0.1", "[::1]"]
    usual = {"http": 80, "https": 443}[scheme]
    with_port = [
        name if name.rpartition(":")[2].isdigit() and not name.endswith("]") else f"{name}:{port}" for name in known
    ]
    return [*with_port, *([name.rpartition(":")[0] for name in with_port] if port == usual else [])]
