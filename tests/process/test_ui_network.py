"""The page on a network address: TLS alone, and nobody looks who has not logged in."""

from __future__ import annotations

import base64
import datetime
import http.client
import ipaddress
import json
import ssl
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from rig import Rig, free_port, rig
from waiting import until

from edged.services.ui.people import put_person

__all__ = ["rig"]
PASSWORD = "correct horse battery"


def certificate(folder: Path) -> tuple[Path, Path]:
    """One that signs itself, for cell.local and 127.0.0.1."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "cell.local")])
    now = datetime.datetime.now(datetime.timezone.utc)
    names = x509.SubjectAlternativeName([x509.DNSName("cell.local"), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))])
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(names, critical=False)
        .sign(key, hashes.SHA256())
    )
    paths = folder / "cell.crt", folder / "cell.key"
    paths[0].write_bytes(made.public_bytes(serialization.Encoding.PEM))
    paths[1].write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return paths


def test_a_network_address_takes_tls_and_a_login_also_to_look(rig: Rig) -> None:
    crt, key = certificate(rig.folder)
    people, port = rig.folder / "people.json", free_port()
    put_person(people, "eve", PASSWORD, frozenset())
    process = rig.process(
        "ui", "-m", "edged", "ui", f"--listen=0.0.0.0:{port}", f"--certificate={crt}", f"--key={key}",
        "--name=cell.local",
        f"--people={people}", XDG_RUNTIME_DIR=str(rig.folder), TMPDIR=str(rig.folder),
    )  # fmt: skip
    until(lambda: "page: https" in process.said, 60, lambda: process.said)
    trust = ssl.create_default_context(cafile=str(crt))
    host = f"cell.local:{port}"

    def ask(method: str, path: str, body: object = None, **headers: str) -> tuple[int, dict[str, str], bytes]:
        connection = http.client.HTTPSConnection("127.0.0.1", port, timeout=30, context=trust)
        try:
            data = None if body is None else json.dumps(body)
            given = {"Host": host, "Content-Type": "application/json", "Origin": f"https://{host}", **headers}
            connection.request(method, path, data, given)
            answer = connection.getresponse()
            return answer.status, {k.lower(): v for k, v in answer.getheaders()}, answer.read()
        finally:
            connection.close()

    def answers() -> bool:
        try:
            return process.alive and ask("GET", "/")[0] == 200
        except ConnectionRefusedError:  # where it will be is said right before it is there
            return False

    until(answers, 30)
    for path in ("/api/daemons", "/api/daemons/x/view", "/api/daemons/x/history", "/metrics"):
        assert ask("GET", path)[0] == 401, path
    assert ask("GET", "/", Host=f"10.0.0.1:{port}")[0] == 421
    assert ask("POST", "/api/login", {"name": "eve", "password": PASSWORD}, Origin=f"http://{host}")[0] == 403
    status, headers, _ = ask("POST", "/api/login", {"name": "eve", "password": PASSWORD})
    assert status == 200
    cookie = headers["set-cookie"]
    assert cookie.startswith("__Host-edged-session=")
    assert "secure" in cookie.lower()
    session = cookie.partition(";")[0]
    assert ask("GET", "/api/daemons", Cookie=session)[0] == 200
    basic = base64.b64encode(f"eve:{PASSWORD}".encode()).decode()
    assert ask("GET", "/metrics", Authorization=f"Basic {basic}")[0] == 200
    assert ask("GET", "/metrics", Authorization="Basic ZXZlOndyb25n")[0] == 401
    assert ask("POST", "/api/logout", {}, Cookie=session)[0] == 200
    assert ask("GET", "/api/daemons", Cookie=session)[0] == 401
