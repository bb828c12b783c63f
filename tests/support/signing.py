"""What the tests of signatures share: a packed policy, and two key pairs of which one is trusted."""

from __future__ import annotations

from pathlib import Path

import pytest
from models import policy_golden, policy_model, policy_recipe

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
