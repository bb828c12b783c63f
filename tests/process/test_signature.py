"""A daemon loads what is signed as its config wants it, and warns of what is not."""

from __future__ import annotations

from pathlib import Path

import pytest
from configs import REACH_SENSORS
from signing import bundle_path, keys, sign_bundle

from edged.bundle.store import Store
from edged.config import load_config
from edged.core.errors import RefusedError
from edged.swap.load import load_engine

__all__ = ["bundle_path", "keys"]


CELL = (
    """
[cameras.tool]
uri = "frames"
width = 640
height = 480
"""
    + REACH_SENSORS
    + """[guard]
measured = "sensor:joints"
[bus]
valid_ms = 200
[engine]
name = "reach"
"""
)


def load_as(bundle_path: Path, engine: str = "") -> list[str]:
    """Load the engine as a daemon would, with more lines in its [engine]; returns what it was warned of."""
    cell = bundle_path.parents[2] / "pick.toml"
    cell.write_text(CELL + engine)
    config = load_config(cell, [f"daemon.store={str(bundle_path.parents[1])!r}"])
    warnings: list[str] = []
    load_engine(config, Store(config.daemon.store), "current", warn=warnings.append).engine.close()
    return warnings


REQUIRED = 'require_signature = true\ntrusted = "trusted"\n'


def test_a_daemon_loads_what_is_signed_and_warns_of_what_is_not(bundle_path: Path, keys: Path) -> None:
    assert load_as(bundle_path) == ["reach 1 is not signed: nobody vouches for it"]
    with pytest.raises(RefusedError, match="not signed"):
        load_as(bundle_path, REQUIRED)
    sign_bundle(bundle_path, keys / "alice.pem")
    assert load_as(bundle_path, REQUIRED) == []


@pytest.mark.parametrize("engine", ["", 'trusted = "trusted"\n', REQUIRED])
def test_a_daemon_refuses_a_broken_signature(bundle_path: Path, keys: Path, engine: str) -> None:
    sign_bundle(bundle_path, keys / "alice.pem")
    path = bundle_path / "signature"
    path.write_bytes(path.read_bytes()[:-1] + bytes([path.read_bytes()[-1] ^ 1]))
    with pytest.raises(RefusedError, match="does not match SHA256SUMS"):
        load_as(bundle_path, engine)


@pytest.mark.parametrize("engine", ['trusted = "trusted"\n', REQUIRED])
def test_a_daemon_refuses_a_key_it_does_not_trust(bundle_path: Path, keys: Path, engine: str) -> None:
    sign_bundle(bundle_path, keys / "bob.pem")
    with pytest.raises(RefusedError, match="not trusted"):
        load_as(bundle_path, engine)
