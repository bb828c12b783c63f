"""What the tests of signatures share: a packed policy, and two key pairs of which one is trusted."""

from __future__ import annotations

from pathlib import Path

import pytest
from models import policy_golden, policy_model, policy_recipe

from edged.bundle.bundle import SIGNATURE, open_bundle, read_files, write_archive, write_files
from edged.bundle.signature import load_secret
from edged.cli.keys import new_signing_key
from edged.pack import pack


@pytest.fixture
def bundle_path(tmp_path: Path) -> Path:
    return pack(policy_model(), policy_recipe(), policy_golden(2), tmp_path / "store").path


@pytest.fixture
def keys(tmp_path: Path) -> Path:
    """A folder with alice and bob; only alice's public key is also in `trusted`."""
    for name in ("alice", "bob"):
        new_signing_key(name, tmp_path / "keys")
    (tmp_path / "trusted").mkdir()
    (tmp_path / "trusted" / "alice.pub").write_bytes((tmp_path / "keys" / "alice.pub").read_bytes())
    return tmp_path / "keys"


def sign_bundle(path: Path, key: Path) -> str:
    """Sign the version directory or `.edged` file at `path` with a secret key file; the public key as hex."""
    secret = load_secret(key)
    files = read_files(path)
    files.pop(SIGNATURE, None)
    public = secret.public_key().public_bytes_raw()
    files[SIGNATURE] = public + secret.sign(open_bundle(files, path.name).sums)
    if path.is_dir():
        write_files(path, files, replace=True)
    else:
        write_archive(path, files)
    return public.hex()
