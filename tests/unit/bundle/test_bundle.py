"""A bundle is read whole and sealed, or refused with the reason; what is written can be read by anybody's rules."""

from __future__ import annotations

import hashlib
import os
import random
import shutil
import subprocess
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from bundles import a_manifest, golden, write
from models import policy_model

from edged.bundle.bundle import (
    LIMITS,
    SUMS,
    bundle_files,
    open_bundle,
    read_bundle,
    read_files,
    seal,
    write_archive,
    write_bundle,
    write_files,
)
from edged.core.errors import EngineError, RefusedError


@pytest.fixture
def bundle_path(tmp_path: Path) -> Path:
    return write(tmp_path)


def refused(path: Path) -> str:
    with pytest.raises(RefusedError) as caught:
        read_bundle(path)
    assert caught.value.remedy
    return str(caught.value)


def test_what_is_written_is_read_back(bundle_path: Path):
    bundle = read_bundle(bundle_path)
    assert (bundle.name, bundle.version, bundle.manifest) == ("reach", "1", a_manifest())
    assert bundle.model == policy_model()
    assert sorted(bundle.golden) == sorted(golden())
    assert np.array_equal(bundle.golden["001/out/action"], [[1, 1]])
    assert bundle.signature is None


def test_the_identity_is_the_hash_of_the_seal(bundle_path: Path):
    bundle = read_bundle(bundle_path)
    assert bundle.digest == hashlib.sha256((bundle_path / SUMS).read_bytes()).digest()
    assert bundle.identity == bundle.digest[:8]


def test_sha256sum_agrees(bundle_path: Path):
    done = subprocess.run(["sha256sum", "-c", SUMS], cwd=bundle_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("OK") == 3


def test_writing_again_changes_nothing_and_other_content_is_refused(tmp_path: Path):
    path = write(tmp_path)
    before = {file: file.stat().st_mtime_ns for file in path.iterdir()}
    assert write(tmp_path) == path
    assert {file: file.stat().st_mtime_ns for file in path.iterdir()} == before
    with pytest.raises(RefusedError, match="exists with other content"):
        write(tmp_path, provenance={"by": "somebody else"})
    assert read_bundle(path).manifest.provenance == {}
    assert [entry.name for entry in path.parent.iterdir()] == ["1"]  # nothing half-written stays


def test_a_store_below_a_file_is_told_as_that(tmp_path: Path):
    (tmp_path / "file").touch()
    with pytest.raises(NotADirectoryError):
        write(tmp_path / "file")


def test_replace_is_possible_when_asked_for(tmp_path: Path):
    path = write(tmp_path)
    write_bundle(tmp_path, a_manifest(provenance={"by": "me"}), policy_model(), golden(), replace=True)
    assert read_bundle(path).manifest.provenance == {"by": "me"}


def test_the_same_content_gives_the_same_bytes_anywhere(tmp_path: Path):
    one, other = write(tmp_path / "one"), write(tmp_path / "other")
    assert read_files(one) == read_files(other)


def test_a_manifest_that_nobody_could_read_is_not_written(tmp_path: Path):
    with pytest.raises(RefusedError, match="name"):
        write(tmp_path, name="Not A Name")
    assert not list(tmp_path.rglob("manifest.json"))


@pytest.mark.parametrize("file", ["manifest.json", "model.onnx", "golden.npz", "SHA256SUMS"])
def test_any_flipped_bit_is_refused(bundle_path: Path, file: str):
    files = read_files(bundle_path)
    bits = len(files[file]) * 8
    choose = random.Random(file)
    for bit in {0, bits - 1, *(choose.randrange(bits) for _ in range(60))}:
        flipped = bytearray(files[file])
        flipped[bit // 8] ^= 1 << bit % 8
        with pytest.raises(RefusedError):
            open_bundle({**files, file: bytes(flipped)}, "it")


def test_the_message_names_the_file_that_changed(bundle_path: Path):
    with (bundle_path / "model.onnx").open("ab") as file:
        file.write(b"!")
    assert "model.onnx does not match SHA256SUMS" in refused(bundle_path)


def test_sums_in_another_form_are_refused(bundle_path: Path):
    text = (bundle_path / SUMS).read_bytes()
    for other in (text.upper(), text + b"\n", b"".join(reversed(text.splitlines(True))), text.replace(b"  ", b" *")):
        (bundle_path / SUMS).write_bytes(other)
        assert "SHA256SUMS" in refused(bundle_path)


@pytest.mark.parametrize(
    ("spoil", "says"),
    [
        (lambda path: (path / "golden.npz").unlink(), "golden.npz missing"),
        (lambda path: (path / "notes.txt").write_text("hello"), "'notes.txt' does not belong"),
        (lambda path: (path / ".hidden").write_text(""), "'.hidden' does not belong"),
        (lambda path: (path / "more").mkdir(), "'more' does not belong"),
        (lambda path: (path / "signature").write_bytes(bytes(95)), "signature has 95 bytes"),
        (lambda path: (path / "signature").write_bytes(bytes(97)), "at most 96"),
        (lambda path: os.truncate(path / "manifest.json", LIMITS["manifest.json"] + 1), "at most"),
        (lambda path: ((path / "model.onnx").unlink(), os.mkfifo(path / "model.onnx")), "not a regular file"),
        (lambda path: ((path / "model.onnx").unlink(), (path / "model.onnx").mkdir()), "not a regular file"),
    ],
)
def test_what_does_not_belong_is_refused(bundle_path: Path, spoil: Callable[[Path], object], says: str):
    spoil(bundle_path)
    assert says in refused(bundle_path)


def test_links_are_not_followed(bundle_path: Path, tmp_path: Path):
    outside = tmp_path / "elsewhere.onnx"
    (bundle_path / "model.onnx").rename(outside)
    (bundle_path / "model.onnx").symlink_to(outside)
    assert "links are not followed" in refused(bundle_path)


def test_a_device_is_refused(bundle_path: Path):
    (bundle_path / "model.onnx").unlink()
    try:
        os.mknod(bundle_path / "model.onnx", 0o020666, os.makedev(1, 5))  # /dev/zero: would never end
    except PermissionError:
        pytest.skip("making device files needs root")
    try:
        os.close(os.open(bundle_path / "model.onnx", os.O_RDONLY))
    except OSError:
        pytest.skip("this file system has no devices")
    assert "not a regular file" in refused(bundle_path)


def test_a_signature_is_carried_and_not_part_of_the_identity(bundle_path: Path):
    before = read_bundle(bundle_path).identity
    (bundle_path / "signature").write_bytes(bytes(range(96)))
    assert read_bundle(bundle_path).signature == bytes(range(96))
    assert read_bundle(bundle_path).identity == before


def test_nothing_there_is_not_the_same_as_broken(tmp_path: Path):
    with pytest.raises(EngineError, match="No such file"):
        read_bundle(tmp_path / "reach" / "9")


def test_one_file_holds_the_same_bundle(bundle_path: Path, tmp_path: Path):
    archive = write_archive(tmp_path / "reach-1.edged", read_files(bundle_path))
    assert read_bundle(archive).digest == read_bundle(bundle_path).digest
    assert write_archive(tmp_path / "again.edged", read_files(bundle_path)).read_bytes() == archive.read_bytes()


def test_the_zip_tool_makes_one_too(bundle_path: Path, tmp_path: Path):
    stored = shutil.make_archive(str(tmp_path / "it"), "zip", bundle_path)  # this one compresses
    compressed = Path(stored).rename(tmp_path / "it.edged")
    assert "is compressed" in refused(compressed)


def test_paths_in_an_archive_are_refused(bundle_path: Path, tmp_path: Path):
    files = read_files(bundle_path)
    for name in ("../evil", "/etc/passwd", "a/b"):
        archive = write_archive(tmp_path / "it.edged", {**files, name: b""})
        assert "does not belong" in refused(archive)


def test_a_seal_made_anew_over_nonsense_does_not_help(bundle_path: Path):
    files = read_files(bundle_path)
    for name in ("manifest.json", "golden.npz"):
        forged = {**files, name: b"nonsense"}
        with pytest.raises(RefusedError, match=name):
            open_bundle({**forged, SUMS: seal(forged)}, "it")


def test_files_of_a_bundle_are_few_and_known():
    assert sorted(bundle_files(a_manifest(), b"", golden())) == [
        "SHA256SUMS",
        "golden.npz",
        "manifest.json",
        "model.onnx",
    ]


def test_write_files_leaves_the_old_version_when_it_cannot_write(tmp_path: Path):
    path = write(tmp_path)
    with pytest.raises(TypeError):
        write_files(path, {"manifest.json": None}, replace=True)  # type: ignore[dict-item]
    assert read_bundle(path).version == "1"


def test_two_who_write_one_version_at_once_both_find_it(tmp_path: Path):
    """As two daemons do that start on one empty store, and both copy the shipped engines into it."""
    files = bundle_files(a_manifest(), policy_model(), golden())
    with ThreadPoolExecutor(8) as pool:
        paths = list(pool.map(lambda _: write_files(tmp_path / "reach" / "1", files), range(16)))
    assert len(set(paths)) == 1
    assert read_files(paths[0]) == files
    assert [path.name for path in (tmp_path / "reach").iterdir()] == ["1"]


def test_what_a_killed_writer_left_keeps_nobody_of_the_same_pid_from_writing(tmp_path: Path):
    """In a container everybody is pid 1, again and again."""
    (tmp_path / f".1.{os.getpid()}.{threading.get_ident()}").mkdir()
    assert write_files(tmp_path / "1", bundle_files(a_manifest(), b"", golden()))
