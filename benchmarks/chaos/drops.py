"""Bad engines as they are dropped: each is made anew under a name of its own, and has to be refused by that name."""

from __future__ import annotations

import contextlib
import os
import random
import shutil
import time
import zipfile
from collections.abc import Callable
from functools import cache
from itertools import count
from pathlib import Path

import numpy as np

from benchmarks.chaos.cell import ENGINE, Cell
from benchmarks.chaos.faults import Do, Fault
from edged.bench import ENGINES
from edged.bundle.archive import write_stored_zip
from edged.bundle.bundle import GOLDEN, MANIFEST, MODEL, SUMS, read_files, seal
from edged.bundle.samples import read_samples, write_samples

REFUSED_S = 60.0  # a trial gets what nobody else wants of the processors
_numbers = count(1)

Files = dict[str, bytes]
Make = Callable[[Path, str], Path]  # the folder and a name -> the drop


@cache
def _good() -> Files:
    return read_files(ENGINES / ENGINE / "1")


def version(name: str, **changed: bytes) -> Files:
    """A version of that name, sealed; `changed` by file, without its ending."""
    files = {**_good(), MANIFEST: _good()[MANIFEST].replace(b'"version": "1"', b'"version": "%s"' % name.encode())}
    for key, data in changed.items():
        files[{"manifest": MANIFEST, "model": MODEL, "golden": GOLDEN}[key]] = data
    return {**files, SUMS: seal(files)}


def put(folder: Path, files: Files) -> Path:
    folder.mkdir(parents=True)
    for name, data in files.items():
        (folder / name).write_bytes(data)
    return folder


def cut_model(home: Path, name: str) -> Path:
    return put(home / name, {**version(name), MODEL: _good()[MODEL][:-20]})


def cut_archive(home: Path, name: str) -> Path:
    whole = write_stored_zip(version(name))
    path = home / f"{name}.edged"
    path.write_bytes(whole[: len(whole) // 2])
    return path


def flipped_bit(home: Path, name: str) -> Path:
    files = version(name)
    golden = bytearray(files[GOLDEN])
    golden[len(golden) // 2] ^= 16
    return put(home / name, {**files, GOLDEN: bytes(golden)})


def words_for_model(home: Path, name: str) -> Path:
    return put(home / name, version(name, model=b"words"))


def broken_manifest(home: Path, name: str) -> Path:
    return put(home / name, version(name, manifest=b'{"name": '))


def nested_manifest(home: Path, name: str) -> Path:
    return put(home / name, version(name, manifest=b'{"a": ' * 5000 + b"1" + b"}" * 5000))


def another_engine(home: Path, name: str) -> Path:
    text = version(name)[MANIFEST].replace(ENGINE.encode(), b"somebody-else")
    return put(home / name, version(name, manifest=text))


def version_that_is_a_path(home: Path, name: str) -> Path:
    return put(home / name, version(name, manifest=version("../../x")[MANIFEST]))


def wrong_answers(home: Path, name: str) -> Path:
    samples = {key: np.array(array) for key, array in read_samples(_good()[GOLDEN]).items()}
    for key in samples:
        if "/out/" in key:
            samples[key] = samples[key] + np.float32(0.5)
    return put(home / name, version(name, golden=write_samples(samples)))


def link(home: Path, name: str) -> Path:
    path = home / name
    path.symlink_to(ENGINES / ENGINE / "1")
    return path


def bare_network(home: Path, name: str) -> Path:
    path = home / f"{name}.onnx"
    path.write_bytes(_good()[MODEL])
    return path


def pipe_for_model(home: Path, name: str) -> Path:
    files = version(name)
    del files[MODEL]
    path = put(home / name, files)
    os.mkfifo(path / MODEL)
    return path


def deflated(home: Path, name: str) -> Path:
    path = home / f"{name}.edged"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for file, data in {**version(name), MODEL: bytes(20_000_000)}.items():
            archive.writestr(file, data)
    return path


def not_utf8(home: Path, name: str) -> Path:
    path = Path(os.fsdecode(os.fsencode(home) + b"/\xff" + name.encode()))
    return put(path, version(name))


def empty(home: Path, name: str) -> Path:
    path = home / name
    path.mkdir()
    return path


def junk(home: Path, name: str) -> Path:
    path = home / f"{name}.txt"
    path.write_bytes(b"notes")
    return path


KINDS: tuple[Make, ...] = (
    cut_model, cut_archive, flipped_bit, words_for_model, broken_manifest, nested_manifest, another_engine,
    version_that_is_a_path, wrong_answers, link, bare_network, pipe_for_model, deflated, not_utf8, empty, junk,
)  # fmt: skip


def dropped(make: Make) -> Do:
    def do(cell: Cell, dice: random.Random) -> bool:
        name = f"bad{next(_numbers)}x"
        cell.incoming.mkdir(parents=True, exist_ok=True)
        drop = make(cell.incoming, name)
        until = time.monotonic() + REFUSED_S
        while not (is_seen := _is_refused(cell, name)) and time.monotonic() < until:
            cell.status()
            time.sleep(0.3)
        with contextlib.suppress(OSError):
            shutil.rmtree(drop) if drop.is_dir() and not drop.is_symlink() else drop.unlink()
        return is_seen

    return do


def _is_refused(cell: Cell, name: str) -> bool:
    """In the journal, which `edged engines` and the events are made of."""
    return any(name in line and '"refused"' in line for line in cell.journal().splitlines())


DROPS = tuple(Fault(f"drop: {make.__name__.replace('_', ' ')}", "journal", dropped(make)) for make in KINDS)
