"""`edged pack --upgrade`: a sealed engine of schema 1 once more, with a manifest of schema 2.

Graph and golden samples stay what they are, byte for byte; nothing is added that the old manifest did not say. It is
another version, with another identity and no signature but a new one.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import msgspec

from edged.bundle.bundle import SIGNATURE, SUMS, Bundle, bundle_files, open_bundle
from edged.bundle.manifest import SCHEMA, Manifest, dump_manifest, parse_manifest
from edged.bundle.roles import FeedbackInput, Input
from edged.bundle.store import Store
from edged.core.errors import RefusedError
from edged.engine.registry import open_engine
from edged.pipeline.golden import golden_check

SUFFIX = f"-schema{SCHEMA}"
MOST_VERSION = 63


def upgrade(
    bundle: Bundle,
    store: Path,
    version: str | None = None,
    replace: bool = False,
    sign: Callable[[bytes], bytes] | None = None,
) -> tuple[Path, Manifest]:
    """Write `bundle` with the newest schema as `version` (default: its own and `-schema2`).

    `RefusedError` when it has that schema already, when its version would stay the same, or when it does not give its
    golden samples here.
    """
    old = bundle.manifest
    if old.schema == SCHEMA:
        raise RefusedError(f"{old.name} {old.version} has schema {SCHEMA} already", "use it as it is")
    new = version or f"{old.version}{SUFFIX}"
    if new == old.version:
        fact = f"{old.name} {old.version} cannot become another engine of the same version"
        raise RefusedError(fact, "give another --version")
    if len(new) > MOST_VERSION:
        raise RefusedError(f"the version {new} is too long", "give a shorter --version")
    manifest = msgspec.structs.replace(
        old,
        schema=SCHEMA,
        version=new,
        inputs={tensor: _input(role) for tensor, role in old.inputs.items()},
        provenance={**old.provenance, "upgraded_from": f"{old.version} {bundle.identity.hex()}"},
    )
    manifest = parse_manifest(dump_manifest(manifest), f"{old.name}/manifest.json")
    files = bundle_files(manifest, bundle.model, bundle.golden)
    if sign is not None:
        files[SIGNATURE] = sign(files[SUMS])
    made = open_bundle(files, old.name)
    with open_engine(made, "cpu") as engine:
        golden_check(engine, made)
    return Store(store).write(manifest.name, manifest.version, files, replace), manifest


def _input(role: Input) -> Input:
    """As schema 2 says it: what a swap resets, a stop and a gap reset too."""
    if isinstance(role, FeedbackInput) and role.reset == "swap":
        return msgspec.structs.replace(role, reset="stop")
    return role
