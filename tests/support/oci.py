"""Registries for tests: Debian's docker-registry, and one that says whatever a test wants."""

from __future__ import annotations

import contextlib
import hashlib
import json
import shutil
import socket
import ssl
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import oras.provider
import pytest
from rig import free_port

REGISTRY = shutil.which("docker-registry")
needs_registry = pytest.mark.skipif(REGISTRY is None, reason="docker-registry is a package of Debian's")
TITLE = "org.opencontainers.image.title"
MANIFEST = "application/vnd.oci.image.manifest.v1+json"
ROBOT = "robot:$2b$05$abcdefghijklmnopqrstuuOQiyCxlgf/oeuTqixKmWdcYUh4Hjl0a"  # as htpasswd -B writes `secret`


@contextlib.contextmanager
def docker_registry(folder: Path, login: bool = False) -> Iterator[str]:
    """HOST:PORT of a real one on loopback, over plain HTTP; with `login` only robot:secret gets in."""
    assert REGISTRY is not None
    port = free_port()
    auth = ""
    if login:
        (folder / "htpasswd").write_text(ROBOT, encoding="ascii")
        auth = f"auth: {{htpasswd: {{realm: cell, path: {folder / 'htpasswd'}}}}}\n"
    config = folder / "registry.yml"
    config.write_text(
        f"version: 0.1\nlog: {{level: error}}\nstorage: {{filesystem: {{rootdirectory: {folder / 'blobs'}}}}}\n"
        f"http: {{addr: '127.0.0.1:{port}'}}\n{auth}",
        encoding="utf-8",
    )
    with (folder / "registry.log").open("wb") as log:
        process = subprocess.Popen([REGISTRY, "serve", str(config)], stdout=log, stderr=log)
    try:
        deadline = time.monotonic() + 20
        while not listens(port):
            assert process.poll() is None, (folder / "registry.log").read_text()
            assert time.monotonic() < deadline
            time.sleep(0.02)
        yield f"127.0.0.1:{port}"
    finally:
        process.kill()
        process.wait()


def push(address: str, name: str, *files: Path, login: Path | None = None) -> str:
    """By oras, as the command of that name does it; the reference with its digest."""
    client = oras.provider.Registry(insecure=True, auth_backend="basic" if login else "token")
    options = {"disable_path_validation": True, "quiet": True, "config_path": str(login) if login else None}
    pushed = client.push(f"{address}/{name}", files=[str(file) for file in files], **options)
    return f"{address}/{name.partition(':')[0]}@{pushed.headers['Docker-Content-Digest']}"


def listens(port: int) -> bool:
    with socket.socket() as knocking:
        return knocking.connect_ex(("127.0.0.1", port)) == 0


def digest_of(content: bytes) -> str:
    return f"sha256:{hashlib.sha256(content).hexdigest()}"


Answer = tuple[int, Mapping[str, str], Any]
"""Status, headers, and the body or a function that writes it to a file."""


class Liar:
    """An HTTP server whose paths answer what the test put there. `asked`: path and Authorization of each request."""

    def __init__(self) -> None:
        self.answers: dict[str, Answer | Callable[[BaseHTTPRequestHandler], Answer]] = {"/v2/": (200, {}, b"{}")}
        self.asked: list[tuple[str, str]] = []
        liar = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                liar.asked.append((self.path, self.headers.get("Authorization", "")))
                answer = liar.answers.get(self.path.partition("?")[0], (404, {}, b"{}"))
                status, headers, body = answer(self) if callable(answer) else answer
                self.send_response(status)
                for name, value in {"Connection": "close", **headers}.items():
                    self.send_header(name, value)
                if isinstance(body, bytes) and "Content-Length" not in headers:
                    self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                with contextlib.suppress(OSError):
                    body(self.wfile) if callable(body) else self.wfile.write(body)
                self.close_connection = True

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True).start()

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self._server.server_address[1]}"

    def tls(self, certificate: Path, key: Path) -> None:
        """From now on over TLS."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate, key)
        self._server.socket = context.wrap_socket(self._server.socket, server_side=True)

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()

    def artefact(self, layers: Mapping[str, bytes], repository: str = "reach", **changed: Any) -> str:
        """Serve an artefact of these layers, by title; the reference to it. `changed`: keys of each descriptor."""
        described = []
        for title, content in layers.items():
            blob = {
                "mediaType": "x/y",
                "digest": digest_of(content),
                "size": len(content),
                "annotations": {TITLE: title},
            }
            described.append({**blob, **changed})
            self.answers[f"/v2/{repository}/blobs/{described[-1]['digest']}"] = (200, {}, content)
        return self.manifest({"schemaVersion": 2, "mediaType": MANIFEST, "layers": described}, repository)

    def manifest(self, manifest: Any, repository: str = "reach") -> str:
        """Serve this manifest; the reference to it."""
        content = manifest if isinstance(manifest, bytes) else json.dumps(manifest).encode()
        digest = digest_of(content)
        for name in (digest, "latest", "3"):
            self.answers[f"/v2/{repository}/manifests/{name}"] = (200, {"Content-Type": MANIFEST}, content)
        return f"{self.address}/{repository}@{digest}"
