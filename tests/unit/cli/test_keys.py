"""Keys are written once, secrets for their owner's eyes only, in the forms that their readers take."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest
import zmq.auth

from edged.bundle.signature import load_secret, trusted_keys
from edged.cli.keys import default_keys, new_curve_key, new_signing_key
from edged.core.errors import UsageError


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_a_signing_key_is_a_pem_and_32_raw_bytes(tmp_path: Path) -> None:
    pair = new_signing_key("alice", tmp_path)
    assert (pair.secret.name, pair.public.name) == ("alice.pem", "alice.pub")
    assert (mode(pair.secret), mode(pair.public)) == (0o600, 0o644)
    assert trusted_keys(tmp_path)["alice"].hex() == pair.key
    assert load_secret(pair.secret).public_key().public_bytes_raw().hex() == pair.key


def test_a_curve_key_is_what_zeromq_reads(tmp_path: Path) -> None:
    pair = new_curve_key("pick", tmp_path)
    public, secret = zmq.auth.load_certificate(pair.secret)
    assert (public.decode(), zmq.curve_public(secret)) == (pair.key, public)
    assert (mode(pair.secret), mode(pair.public)) == (0o600, 0o644)
    assert zmq.auth.load_certificates(tmp_path) == {public: True}  # what [bus] authorized reads
    assert secret not in pair.public.read_bytes()


@pytest.mark.parametrize("umask", [0o000, 0o077])
@pytest.mark.parametrize("new", [new_signing_key, new_curve_key])
def test_secrets_are_0600_whatever_the_umask(tmp_path: Path, new, umask: int) -> None:
    before = os.umask(umask)
    try:
        pair = new("k", tmp_path / "keys")
    finally:
        os.umask(before)
    assert mode(pair.secret) == 0o600
    assert mode(tmp_path / "keys") == 0o700


@pytest.mark.parametrize("new", [new_signing_key, new_curve_key])
def test_no_key_is_overwritten(tmp_path: Path, new) -> None:
    pair = new("k", tmp_path)
    before = pair.secret.read_bytes()
    with pytest.raises(UsageError, match="never overwritten"):
        new("k", tmp_path)
    pair.public.unlink()
    with pytest.raises(UsageError, match="never overwritten"):
        new("k", tmp_path)
    assert pair.secret.read_bytes() == before


@pytest.mark.parametrize("name", ["", "../k", "a/b", ".hidden", "a b", "k\n"])
def test_a_name_is_not_a_path(tmp_path: Path, name: str) -> None:
    with pytest.raises(UsageError, match="cannot name a key"):
        new_signing_key(name, tmp_path / "keys")
    assert not list(tmp_path.iterdir())


def test_a_folder_that_cannot_be_made_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UsageError, match="give another --dir"):
        new_signing_key("k", tmp_path / "file" / "keys")


def test_keys_live_in_the_users_config_folder() -> None:
    assert default_keys({"XDG_CONFIG_HOME": "/x"}) == Path("/x/edged/keys")
