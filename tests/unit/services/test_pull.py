"""Engines from a registry that oras itself pushed to: a drop each, once; what is refused leaves nothing."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from bundles import write
from oci import Liar, digest_of, docker_registry, needs_registry, push
from pulled import archive, engine, home, left, liar, logins_file, pull
from signing import sign_bundle
from waiting import until

from edged.bundle.bundle import read_bundle, read_files
from edged.cli.keys import new_signing_key
from edged.core.errors import EdgedError, RefusedError, UsageError
from edged.services.pull.reference import parse_reference
from edged.services.pull.registry import Access

__all__ = ["engine", "home", "liar"]


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


def test_a_disk_without_room_is_told_before_anything_is_fetched(
    liar: Liar, tmp_path: Path, engine: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = type("usage", (), {"free": 1000})
    monkeypatch.setattr("shutil.disk_usage", lambda place: usage)
    reference = liar.artefact({"reach-3.edged": engine})
    with pytest.raises(EdgedError, match="room for 0; make room"):
        pull(reference, tmp_path / "store")
    assert not [path for path, _ in liar.asked if "/blobs/" in path]


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
