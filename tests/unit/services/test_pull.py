"""Engines from a registry: a real one, which oras itself pushed to, and one that lies, stalls, and cuts the line."""

from __future__ import annotations

import base64
import datetime
import ipaddress
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from bundles import a_manifest, golden, write
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from models import policy_model
from oci import Liar, digest_of, docker_registry, needs_registry, push
from signing import sign_bundle
from waiting import until

from edged.bundle.archive import write_stored_zip
from edged.bundle.bundle import bundle_files, read_bundle, read_files
from edged.cli.keys import new_signing_key
from edged.core.errors import EdgedError, RefusedError, UsageError
from edged.services.pull import registry as registry_module
from edged.services.pull.pull import Pulled, Target
from edged.services.pull.pull import pull as run_pull
from edged.services.pull.reference import parse_reference
from edged.services.pull.registry import Access

HTTP = Access(plain_http=True, seconds=30)


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Logins of whoever runs the tests are not to be read."""
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    for name in ("http_proxy", "HTTP_PROXY", "https_proxy", "HTTPS_PROXY", "ORAS_USER", "ORAS_PASS"):
        monkeypatch.delenv(name, raising=False)
    return tmp_path / "home"


@pytest.fixture
def liar() -> Iterator[Liar]:
    liar = Liar()
    yield liar
    liar.close()


@pytest.fixture
def engine() -> bytes:
    """`reach` 3 as one `.edged` file."""
    return archive()


def archive(version: str = "3") -> bytes:
    return write_stored_zip(bundle_files(a_manifest(version=version), policy_model(), golden()))


def pull(reference: str, store: Path, access: Access = HTTP, engine: str = "", trusted: Path | None = None) -> Pulled:
    return run_pull(parse_reference(reference), Target(store, engine, trusted), access)


def left(store: Path) -> list[str]:
    """All that is in a store, notes of what was pulled left out."""
    return sorted(
        str(path.relative_to(store)) for path in store.rglob("*") if path.is_file() and ".pulled-" not in path.name
    )


@needs_registry
def test_what_oras_pushed_is_a_drop(tmp_path: Path, engine: bytes) -> None:
    (tmp_path / "reach-3.edged").write_bytes(engine)
    with docker_registry(tmp_path) as address:
        reference = push(address, "line/reach:3", tmp_path / "reach-3.edged")
        with pytest.raises(UsageError, match=f"a tag can be moved; pin what it means now: .*{reference[-64:]}"):
            pull(f"{address}/line/reach:3", tmp_path / "store")
        done = pull(reference, tmp_path / "store")
    assert (done.name, done.version, done.was_there) == ("reach", "3", False)
    assert done.path == tmp_path / "store" / "reach" / "incoming" / "reach-3.edged"
    assert done.path.read_bytes() == engine
    assert left(tmp_path / "store") == ["reach/incoming/reach-3.edged"]


@needs_registry
def test_the_files_of_a_version_are_an_engine_too(tmp_path: Path) -> None:
    version = write(tmp_path / "packed")
    with docker_registry(tmp_path) as address:
        done = pull(push(address, "reach:1", *sorted(version.iterdir())), tmp_path / "store", engine="reach")
    assert read_files(done.path) == read_files(version)
    assert read_bundle(done.path).identity.hex() == done.identity


@needs_registry
def test_a_registry_with_logins_lets_in_who_has_one(tmp_path: Path, engine: bytes) -> None:
    (tmp_path / "reach-3.edged").write_bytes(engine)
    with docker_registry(tmp_path, login=True) as address:
        logins = logins_file(tmp_path / "logins.json", address, "robot:secret")
        reference = push(address, "reach:3", tmp_path / "reach-3.edged", login=logins)
        with pytest.raises(EdgedError, match="does not let us have reach; log in"):
            pull(reference, tmp_path / "store")
        wrong = logins_file(tmp_path / "wrong.json", address, "robot:guess")
        with pytest.raises(EdgedError, match="does not let us have reach"):
            pull(reference, tmp_path / "store", Access(auth=wrong, plain_http=True))
        assert pull(reference, tmp_path / "store", Access(auth=logins, plain_http=True)).version == "3"


def logins_file(path: Path, address: str, word: str) -> Path:
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps({"auths": {address: {"auth": base64.b64encode(word.encode()).decode()}}}))
    return path


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


def test_what_was_pulled_before_is_not_fetched_again(liar: Liar, tmp_path: Path, engine: bytes) -> None:
    """A pod starts again; the registry may be gone by then. What the store has lost is fetched."""
    reference, store = liar.artefact({"reach-3.edged": engine}), tmp_path / "store"
    first = pull(reference, store)
    asked = len(liar.asked)
    pull(reference, store)
    assert len(liar.asked) > asked  # the drop was not taken yet
    write(store, version="3")  # the daemon takes it
    first.path.unlink()
    asked = len(liar.asked)
    again = pull(reference, store)
    assert (again.was_there, again.path, again.identity) == (True, store / "reach" / "3", first.identity)
    assert len(liar.asked) == asked
    note = next((store / "reach" / "incoming").glob(".pulled-*"))
    for text in ("", "3 ", "../3 0", "3 " + "0" * 64, "\xff" * 300):
        note.write_text(text)
        assert pull(reference, store).path == store / "reach" / "3"  # fetched, and found by its bytes
    assert len(liar.asked) > asked
    assert not first.path.exists()


def test_a_drop_can_be_read_by_the_daemon_whatever_the_umask_of_who_pulls(
    liar: Liar, tmp_path: Path, engine: bytes
) -> None:
    (tmp_path / "store" / "reach" / "incoming").mkdir(parents=True)
    before = os.umask(0o077)
    try:
        done = pull(liar.artefact({"reach-3.edged": engine}), tmp_path / "store")
    finally:
        os.umask(before)
    assert done.path.stat().st_mode & 0o777 == 0o644


def test_notes_are_kept_of_what_is_there_and_of_nothing_else(liar: Liar, tmp_path: Path) -> None:
    store = tmp_path / "store"
    incoming = store / "reach" / "incoming"

    def notes() -> dict[str, Path]:
        return {path.read_text().partition(" ")[0]: path for path in incoming.glob(".pulled-*")}

    done = {version: pull(liar.artefact({"reach.edged": archive(version)}), store) for version in ("1", "2", "3")}
    assert set(notes()) == {"1", "2", "3"}, "all lie there as drops"
    write(store, version="2")  # the daemon takes this one, and the first is removed
    for version in ("1", "2"):
        done[version].path.unlink()
    (incoming / f".pulled-{'0' * 64}").write_text("torn")
    (incoming / f".pulled-{'1' * 64}").write_bytes(bytes(300))
    (incoming / f".pulled-{'2' * 64}").mkdir()
    (incoming / ".other").write_text("somebody's")
    pull(liar.artefact({"reach.edged": archive("4")}), store)
    (incoming / f".pulled-{'2' * 64}").rmdir()
    assert set(notes()) == {"2", "3", "4"}
    assert (incoming / ".other").exists()
    shutil.rmtree(store / "reach" / "2")
    pull(liar.artefact({"reach.edged": archive("4")}), store)
    assert set(notes()) == {"3", "4"}, "pruned from the store"


def test_another_engine_than_the_daemon_runs_is_refused(liar: Liar, tmp_path: Path, engine: bytes) -> None:
    reference = liar.artefact({"reach-3.edged": engine})
    with pytest.raises(RefusedError, match="that is engine reach 3, and plate is what runs there"):
        pull(reference, tmp_path / "store", engine="plate")
    assert left(tmp_path / "store") == []


def test_an_unsigned_engine_is_refused_where_a_signature_is_asked_for(liar: Liar, tmp_path: Path) -> None:
    version = write(tmp_path / "packed")
    new_signing_key("alice", tmp_path / "keys")
    (tmp_path / "trusted").mkdir()
    (tmp_path / "trusted" / "alice.pub").write_bytes((tmp_path / "keys" / "alice.pub").read_bytes())
    unsigned = liar.artefact(read_files(version), "unsigned")
    with pytest.raises(RefusedError, match="is not signed"):
        pull(unsigned, tmp_path / "store", trusted=tmp_path / "trusted")
    sign_bundle(version, tmp_path / "keys" / "alice.pem")
    signed = liar.artefact(read_files(version), "signed")
    assert pull(signed, tmp_path / "store", trusted=tmp_path / "trusted").version == "1"


@pytest.mark.parametrize(
    ("layers", "said"),
    [
        ({"../../../etc/cron.d/reach": b"x"}, "which is no engine"),
        ({"/etc/passwd": b"x", "..": b"y"}, "which is no engine"),
        ({"../../escaped.edged": b"no zip"}, "not a readable zip"),
        ({"reach-3.edged": b""}, "not a readable zip"),
        ({}, "holds nothing"),
        ({"reach-3.edged": b"1", "plate-1.edged": b"2"}, "which is no engine"),
    ],
)  # fmt: skip
def test_what_is_no_engine_leaves_nothing(liar: Liar, tmp_path: Path, layers: dict[str, bytes], said: str) -> None:
    with pytest.raises(RefusedError, match=said):
        pull(liar.artefact(layers), tmp_path / "store")
    assert left(tmp_path) == []


def test_a_sound_engine_under_a_wicked_title_lands_by_its_own_name(liar: Liar, tmp_path: Path, engine: bytes) -> None:
    pull(liar.artefact({"../../../evil.edged": engine}), tmp_path / "store")
    assert left(tmp_path) == ["store/reach/incoming/reach-3.edged"]


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


def test_a_disk_without_room_is_told_before_anything_is_fetched(
    liar: Liar, tmp_path: Path, engine: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = type("usage", (), {"free": 1000})
    monkeypatch.setattr("shutil.disk_usage", lambda place: usage)
    reference = liar.artefact({"reach-3.edged": engine})
    with pytest.raises(EdgedError, match="room for 0; make room"):
        pull(reference, tmp_path / "store")
    assert not [path for path, _ in liar.asked if "/blobs/" in path]


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


@pytest.mark.parametrize(
    "text",
    ["reach", "reach:3", "registry.example/", "http://registry.example/reach", "registry.example/Reach:3", "",
     "registry.example/../reach:3", "user:word@registry.example/reach", "registry.example/reach@sha256:12",
     "registry.example/reach:3 ", "registry.example/reach?x=1:3", f"registry.example/reach@sha256:{'A' * 64}"],
)  # fmt: skip
def test_references_that_mean_nothing_are_usage(text: str) -> None:
    with pytest.raises(UsageError, match="names no artefact"):
        parse_reference(text)


def test_a_reference_comes_back_as_it_was() -> None:
    for text in (
        f"oci://registry.example:5000/line/reach:3@sha256:{'0' * 64}",
        "[::1]:5000/reach",
        "localhost/reach:3",
    ):
        assert str(parse_reference(text)) == text.removeprefix("oci://")
    assert [parse_reference(f"{place}/reach").host for place in ("[::1]:5000", "[::1]", "a.b:50", "a.b")] == [
        "::1", "::1", "a.b", "a.b"]  # fmt: skip


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
        with pytest.raises(UsageError, match="the logins cannot be read"):
            pull(reference, tmp_path / "store", Access(auth=tmp_path / "logins.json", plain_http=True))


def test_a_pull_that_is_killed_leaves_what_the_next_one_removes(liar: Liar, tmp_path: Path, engine: bytes) -> None:
    reference, store = liar.artefact({"reach-3.edged": engine}), tmp_path / "store"
    blob, begun, ended = f"/v2/reach/blobs/{digest_of(engine)}", threading.Event(), threading.Event()

    def stall(file) -> None:  # type: ignore[no-untyped-def]
        file.write(engine[:100])
        file.flush()
        begun.set()
        ended.wait(30)

    liar.answers[blob] = (200, {}, stall)
    command = [sys.executable, "-m", "edged", "pull", reference, "--store", str(store), "--plain-http"]
    with subprocess.Popen(command, env=dict(os.environ)) as process:
        assert begun.wait(30)
        until(lambda: list(store.glob(".*.edged-new/*.edged")))
        process.send_signal(signal.SIGKILL)
    ended.set()
    assert list(store.glob(".*.edged-new"))
    liar.answers[blob] = (200, {}, engine)
    pull(reference, store)
    assert left(store) == ["reach/incoming/reach-3.edged"]
    assert not list(store.glob(".*"))
