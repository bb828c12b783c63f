"""Commands that end by themselves: usage errors, configs and engines that are wrong, daemons that are not there."""

from __future__ import annotations

import json
import re
import shutil
import zipfile
from collections.abc import Iterator
from pathlib import Path

from benchmarks.behaviour.folder import ENGINE, Folder, seal, shape, toml
from benchmarks.behaviour.tables import ABSENT, ALONE, CONFIGS, ENVIRON, MANIFESTS, SETS, USAGE


def commands(folder: Folder) -> Iterator[tuple[str, tuple[str, ...], dict[str, str]]]:
    """Name, arguments and environment of each; what they need is made when their turn comes."""
    for line in (*USAGE, *ABSENT):
        yield line, tuple(line.split()), {}
    for name, changes in CONFIGS.items():
        folder.write("case.toml", toml(changes))
        yield f"config: {name}", ("check", "case.toml"), {}
    yield "config: three faults, as JSON", ("check", "case.toml", "--json"), {}
    yield "config: three faults, run", ("run", "case.toml"), {}
    for name, text in ALONE.items():
        (folder.path / "case.toml").write_bytes(text.encode(errors="surrogateescape"))
        yield f"config: {name}", ("check", "case.toml"), {}
        yield f"config: {name}, run", ("run", "case.toml"), {}
    for given in SETS:
        yield f"--set {given}", ("check", "cell.toml", "--set", given), {}
    for name, value in ENVIRON.items():
        yield f"{name}={value}", ("check", "cell.toml"), {name: value}
    for name, changes in MANIFESTS.items():
        where = f"bundles/{ENGINE}/{name.replace(' ', '-')}"
        version = where.rpartition("/")[2]
        folder.bundle(where, **{"version": version, **changes})
        yield f"manifest: {name}", ("verify", where), {}
    for name, where in broken_bundles(folder):
        yield f"bundle: {name}", ("verify", where), {}
        yield f"bundle: {name}, as JSON", ("verify", where, "--json"), {}


def broken_bundles(folder: Folder) -> Iterator[tuple[str, str]]:
    """A name, and where such a bundle lies now."""

    def fresh(name: str) -> tuple[Path, str]:
        where = f"bundles/{ENGINE}/{name}"
        return folder.bundle(where, name), where

    path, where = fresh("unlisted")
    (path / "extra").write_text("x")
    yield "a file that is not listed", where
    path, where = fresh("flipped")
    (path / "golden.npz").write_bytes(b"x" + (path / "golden.npz").read_bytes()[1:])
    yield "a byte that flipped", where
    for name in ("manifest.json", "model.onnx", "golden.npz", "SHA256SUMS"):
        path, where = fresh(f"no-{name}")
        (path / name).unlink()
        yield f"without {name}", where
        if name != "SHA256SUMS":
            seal(path)
            yield f"without {name}, sealed so", where
    for name, content in (("manifest.json", b"{"), ("model.onnx", b"words"), ("golden.npz", b"words")):
        path, where = fresh(f"broken-{name}")
        (path / name).write_bytes(content)
        seal(path)
        yield f"{name} of nonsense", where
    path, where = fresh("sums")
    (path / "SHA256SUMS").write_text("nonsense\n")
    yield "SHA256SUMS of nonsense", where
    path, where = fresh("signature")
    (path / "signature").write_bytes(b"x" * 96)
    yield "a signature of nonsense", where
    path, where = fresh("short-signature")
    (path / "signature").write_bytes(b"x")
    yield "a signature that is short", where
    path, where = fresh("link")
    (path / "golden.npz").unlink()
    (path / "golden.npz").symlink_to(folder.path / f"store/{ENGINE}/1/golden.npz")
    yield "a link in place of a file", where
    path, where = fresh("data")
    (path / "weights.data").write_bytes(b"x")
    seal(path)
    yield "a file of another kind, sealed", where
    (folder.path / "bundles/empty").mkdir()
    yield "an empty folder", "bundles/empty"
    yield from broken_archives(folder)


def broken_archives(folder: Folder) -> Iterator[tuple[str, str]]:
    source = folder.bundle(f"bundles/{ENGINE}/archived", "archived")
    for name, how in (("stored", zipfile.ZIP_STORED), ("deflated", zipfile.ZIP_DEFLATED)):
        path = folder.path / f"{ENGINE}-{name}.edged"
        with zipfile.ZipFile(path, "w", how) as archive:
            for file in sorted(source.iterdir()):
                archive.writestr(zipfile.ZipInfo(file.name), file.read_bytes(), how)
        yield f"an archive, {name}", path.name
    (folder.path / "cut.edged").write_bytes(path.read_bytes()[:1000])
    yield "an archive that is cut off", "cut.edged"
    (folder.path / "words.edged").write_bytes(b"words")
    yield "an archive of nonsense", "words.edged"
    with zipfile.ZipFile(folder.path / "climbs.edged", "w") as archive:
        archive.writestr("../outside", b"x")
    yield "an archive that climbs", "climbs.edged"
    shutil.rmtree(source)


def helps(folder: Folder) -> Iterator[tuple[str, str]]:
    """`--help` of every command and of every command below it."""
    waiting = [""]
    while waiting:
        command = waiting.pop()
        said = folder.edged(*command.split(), "--help", COLUMNS="80").stdout
        yield f"{command} --help".strip(), said
        _, _, below = said.partition("─ Commands ─")
        waiting += [f"{command} {name}".strip() for name in re.findall(r"^│ (\w+) ", below, re.MULTILINE)]


def seen(folder: Folder) -> Iterator[tuple[str, str]]:
    """Everything that commands say and end with."""
    yield from helps(folder)
    counts: dict[str, int] = {}
    for name, arguments, environ in commands(folder):
        counts[name] = counts.get(name, 0) + 1
        name = name if counts[name] == 1 else f"{name}, again"
        ended = folder.edged(*arguments, **environ)
        yield f"{name} [exit]", str(ended.returncode)
        yield f"{name} [stderr]", once(folder.plain(ended.stderr))
        if "--json" in arguments and ended.stdout.strip():
            yield f"{name} [keys]", shape(json.loads(ended.stdout.splitlines()[0]))
        else:
            yield f"{name} [stdout]", folder.plain(ended.stdout)


def once(text: str) -> str:
    """Each line once: what goes on says the same again, as often as there was time."""
    return "\n".join(dict.fromkeys(text.splitlines()))
