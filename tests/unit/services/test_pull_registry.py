"""A registry that asks for logins, lies, stalls, cuts the line, or is none: nothing of it is kept."""

from __future__ import annotations

import base64
import datetime
import ipaddress
import threading
import time
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from oci import Liar, digest_of
from pulled import archive, engine, home, left, liar, logins_file, pull

from edged.core.errors import EdgedError, RefusedError, UsageError
from edged.services.pull import registry as registry_module
from edged.services.pull.registry import Access

__all__ = ["engine", "home", "liar"]


def test_a_token_is_fetched_where_a_registry_sends_us_for_one(
    liar: Liar, tmp_path: Path, engine: bytes, home: Path
) -> None:
    """Docker's Hub, GitHub, Harbor: anonymous first, and by the login of ~/.docker/config.json where there is one."""
    reference = liar.artefact({"reach-3.edged": engine})
    behind = dict(liar.answers)
    challenge = {"Www-Authenticate": f'Bearer realm="http://{liar.address}/token",service="cells",scope="pull"'}

    def guarded(path: str):  # type: ignore[no-untyped-def]
        return lambda asked: (
            behind[path] if asked.headers.get("Authorization") == "Bearer yes" else (401, challenge, b"")
        )

    liar.answers = {path: guarded(path) for path in behind}
    liar.answers["/token"] = lambda asked: (200, {}, b'{"token": "yes"}')
    assert pull(reference, tmp_path / "anonymous").version == "3"
    wanted = base64.b64encode(b"robot:secret").decode()
    liar.answers["/token"] = lambda asked: (
        (200, {}, b'{"access_token": "yes"}')
        if asked.headers.get("Authorization") == f"Basic {wanted}"
        else (401, {}, b"")
    )
    with pytest.raises(EdgedError, match="does not let us have reach"):
        pull(reference, tmp_path / "store")
    home.mkdir()
    logins_file(home / ".docker" / "config.json", liar.address, "robot:secret")
    assert pull(reference, tmp_path / "store").version == "3"


def test_bytes_that_are_not_what_the_digest_says_are_refused(liar: Liar, tmp_path: Path, engine: bytes) -> None:
    reference = liar.artefact({"reach-3.edged": engine})
    blob, manifest = f"/v2/reach/blobs/{digest_of(engine)}", f"/v2/reach/manifests/{reference.partition('@')[2]}"
    liar.answers[blob] = (200, {}, engine[:-1] + bytes([engine[-1] ^ 1]))
    with pytest.raises(RefusedError, match="other bytes than its digest says; nothing was kept"):
        pull(reference, tmp_path / "store")
    other = liar.artefact({"reach-3.edged": archive("4")}, "other")
    liar.answers[manifest] = liar.answers[f"/v2/other/manifests/{other.partition('@')[2]}"]
    with pytest.raises(RefusedError, match="the manifest is sha256:"):
        pull(reference, tmp_path / "store")
    assert left(tmp_path) == []


def test_more_bytes_than_announced_are_not_taken(liar: Liar, tmp_path: Path, engine: bytes) -> None:
    """A body without an end, and a manifest without one, cost no memory and no disk."""

    def without_end(file) -> None:  # type: ignore[no-untyped-def]
        while True:
            file.write(bytes(1 << 16))

    reference = liar.artefact({"reach-3.edged": engine})
    liar.answers[f"/v2/reach/blobs/{digest_of(engine)}"] = (200, {}, without_end)
    with pytest.raises(RefusedError, match=rf"longer than the {len(engine)} bytes"):
        pull(reference, tmp_path / "store")
    liar.answers[f"/v2/reach/manifests/{reference.partition('@')[2]}"] = (200, {}, without_end)
    with pytest.raises(RefusedError, match="the manifest is longer than"):
        pull(reference, tmp_path / "store")
    for size, said in ((1 << 62, "at most"), (-1, "of -1 bytes")):
        with pytest.raises(RefusedError, match=said):
            pull(liar.artefact({"reach-3.edged": engine}, "sized", size=size), tmp_path / "store")
    assert left(tmp_path) == []


def test_a_line_that_is_cut_leaves_nothing(liar: Liar, tmp_path: Path, engine: bytes) -> None:
    reference = liar.artefact({"reach-3.edged": engine})
    half = engine[: len(engine) // 2]
    blob = f"/v2/reach/blobs/{digest_of(engine)}"
    for headers in ({"Content-Length": str(len(engine))}, {}):
        liar.answers[blob] = (200, headers, half)
        with pytest.raises(EdgedError, match=r"cut (off after|the line)|nothing was kept"):
            pull(reference, tmp_path / "store")
    assert left(tmp_path) == []
    liar.answers[blob] = (200, {}, engine)
    assert pull(reference, tmp_path / "store").version == "3"


def test_silence_and_trickles_end(liar: Liar, tmp_path: Path, engine: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry_module, "SILENCE_S", 0.2)
    reference = liar.artefact({"reach-3.edged": engine})
    ended = threading.Event()
    blob = f"/v2/reach/blobs/{digest_of(engine)}"
    liar.answers[blob] = (200, {}, lambda file: ended.wait(20))
    with pytest.raises(EdgedError, match="does not answer"):
        pull(reference, tmp_path / "store")
    ended.set()

    def trickle(file) -> None:  # type: ignore[no-untyped-def]
        for byte in engine:
            file.write(bytes([byte]))
            file.flush()
            time.sleep(0.02)

    liar.answers[blob] = (200, {}, trickle)
    with pytest.raises(EdgedError, match=r"takes too long: .* give more --seconds"):
        pull(reference, tmp_path / "store", Access(plain_http=True, seconds=0.5))
    assert left(tmp_path) == []


def test_a_registry_that_is_not_there_is_told_at_once(tmp_path: Path) -> None:
    began = time.monotonic()
    with pytest.raises(EdgedError, match=r"127\.0\.0\.1:1 cannot be reached: Connection refused"):
        pull(f"127.0.0.1:1/reach@{digest_of(b'')}", tmp_path / "store")
    with pytest.raises(EdgedError, match="cannot be reached"):
        pull(f"nowhere.invalid/reach@{digest_of(b'')}", tmp_path / "store")
    assert time.monotonic() - began < 30  # oras would have tried for two minutes, each


@pytest.mark.parametrize(
    ("status", "said"),
    [(404, "has no "), (403, "does not let us"), (429, "asked too often"), (500, "answers 500"), (503, "answers 503")],
)
def test_what_a_registry_answers_is_said(liar: Liar, tmp_path: Path, status: int, said: str) -> None:
    reference = liar.artefact({"reach-3.edged": b"x"})
    liar.answers[f"/v2/reach/manifests/{reference.partition('@')[2]}"] = (status, {}, b"<html>")
    with pytest.raises(EdgedError, match=said):
        pull(reference, tmp_path / "store")


@pytest.mark.parametrize(
    ("manifest", "said"),
    [
        (b"\xff", "no manifest that can be read"),
        (b"[" * 100_000, "no manifest that can be read"),
        ({"layers": [{"digest": 3}]}, "no manifest that can be read"),
        ({"layers": [{"digest": "md5:0", "size": 1}]}, "names a layer 'md5:0'"),
        ({"layers": [{"digest": "../../x", "size": 1}]}, "names a layer"),
        ({"manifests": [{}]}, "is an index of several"),
        ({"layers": None}, "no artefact with layers"),
    ],
)
def test_manifests_that_are_none_are_refused(liar: Liar, tmp_path: Path, manifest: object, said: str) -> None:
    with pytest.raises(RefusedError, match=said):
        pull(liar.manifest(manifest), tmp_path / "store")


def test_no_login_leaves_over_plain_http(
    monkeypatch: pytest.MonkeyPatch, liar: Liar, tmp_path: Path, engine: bytes
) -> None:
    reference = liar.artefact({"reach-3.edged": engine})
    logins = logins_file(tmp_path / "logins.json", liar.address, "robot:secret")
    monkeypatch.setattr(registry_module, "is_loopback", lambda host: False)
    challenge = {"Www-Authenticate": 'Basic realm="cell"'}
    liar.answers = dict.fromkeys(liar.answers, (401, challenge, b""))
    with pytest.raises(EdgedError, match="no login is sent over plain HTTP"):
        pull(reference, tmp_path / "store", Access(auth=logins, plain_http=True))
    assert not any(authorization for _, authorization in liar.asked)


def test_a_certificate_is_asked_for_and_taken(liar: Liar, tmp_path: Path, engine: bytes) -> None:
    reference = liar.artefact({"reach-3.edged": engine})
    own = certificate(tmp_path / "own")
    liar.tls(own, own.with_suffix(".key"))
    with pytest.raises(EdgedError, match=r"is not who it says: .*certificate verify failed"):
        pull(reference, tmp_path / "store", Access())
    with pytest.raises(EdgedError, match="is not who it says"):
        pull(reference, tmp_path / "store", Access(ca=certificate(tmp_path / "other")))
    with pytest.raises(UsageError, match="is no file"):
        pull(reference, tmp_path / "store", Access(ca=tmp_path / "none"))
    assert pull(reference, tmp_path / "store", Access(ca=own)).version == "3"


def certificate(path: Path) -> Path:
    """Self-signed, of 127.0.0.1; its key beside it as `.key`."""
    key, now = ec.generate_private_key(ec.SECP256R1()), datetime.datetime.now(datetime.timezone.utc)
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "127.0.0.1")])
    here = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))])
    built = (
        x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
        .serial_number(x509.random_serial_number()).not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1)).add_extension(here, critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )  # fmt: skip
    plain = (serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    path.with_suffix(".key").write_bytes(key.private_bytes(*plain))
    path.write_bytes(built.public_bytes(serialization.Encoding.PEM))
    return path


def test_logins_that_cannot_be_read_are_told(liar: Liar, tmp_path: Path, engine: bytes) -> None:
    reference = liar.artefact({"reach-3.edged": engine})
    for text in ("no json", "[]", '{"auths": 3}'):
        (tmp_path / "logins.json").write_text(text)
        with pytest.raises(UsageError, match=r"the logins of .*logins.json cannot be read"):
            pull(reference, tmp_path / "store", Access(auth=tmp_path / "logins.json", plain_http=True))
