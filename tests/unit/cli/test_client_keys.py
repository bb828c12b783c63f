"""`edged keys list`, `allow` and `revoke`: whose keys a daemon lets in, and what each may do."""

from __future__ import annotations

from pathlib import Path

import pytest

from edged.cli.client_keys import allow, find_clients, listed, revoke, show_clients
from edged.cli.keys import new_curve_key
from edged.core.errors import ConfigError, EdgedError, UsageError


@pytest.fixture
def clients(tmp_path: Path) -> Path:
    (tmp_path / "clients").mkdir()
    return tmp_path / "clients"


def made(tmp_path: Path, name: str = "ann") -> Path:
    return new_curve_key(name, tmp_path / "keys").public


def roles(clients: Path) -> dict[str, str]:
    return {row["name"]: row["role"] for row in listed(clients)}


def test_a_key_is_let_in_moved_and_removed(tmp_path: Path, clients: Path) -> None:
    key = made(tmp_path)
    assert (listed(clients), show_clients([])) == ([], "no keys: nobody is let in from the network")
    for operate, role in ((False, "read"), (True, "operate"), (True, "operate"), (False, "read")):
        assert allow(key, clients, operate).role == role
        assert roles(clients) == {"ann": role}
    (clients / "operate" / "junk.key").write_text("?")
    shown = show_clients(listed(clients))
    assert f"ann   read              {listed(clients)[0]['key']}" in shown
    assert "junk  read and operate  not a key: nobody is let in by it" in shown
    assert revoke("junk", clients) == [clients / "operate" / "junk.key"]
    assert revoke("ann", clients) == [clients / "ann.key"]
    with pytest.raises(UsageError, match=r"no key 'ann' in .*; there is: none"):
        revoke("ann", clients)


def test_what_is_revoked_is_revoked_under_every_name(tmp_path: Path, clients: Path) -> None:
    key = made(tmp_path)
    allow(key, clients, False)
    (clients / "operate").mkdir()
    (clients / "operate" / "copy.key").write_bytes(key.read_bytes())
    assert {path.name for path in revoke("ann", clients)} == {"ann.key", "copy.key"}
    allow(key, clients, True)
    assert revoke(listed(clients)[0]["key"], clients) == [clients / "operate" / "ann.key"]


def test_names_and_keys_are_not_mixed_up(tmp_path: Path, clients: Path) -> None:
    allow(made(tmp_path), clients, False)
    other = made(tmp_path / "other")
    with pytest.raises(UsageError, match=r"another key is there as ann .*edged keys revoke ann"):
        allow(other, clients, True)
    renamed = other.with_name("again.key")
    renamed.write_bytes((tmp_path / "keys" / "ann.key").read_bytes())
    with pytest.raises(UsageError, match="this key is there as ann"):
        allow(renamed, clients, True)
    assert roles(clients) == {"ann": "read"}


def test_a_secret_key_is_not_taken(tmp_path: Path, clients: Path) -> None:
    key = made(tmp_path)
    with pytest.raises(UsageError, match=r"holds a secret key, which stays with its owner; give the \.key file"):
        allow(key.with_suffix(".key_secret"), clients, False)
    for content in ("", 'curve\n    public-key = "short"\n', "nonsense"):
        (tmp_path / "bad.key").write_text(content)
        with pytest.raises(UsageError, match="holds no public key"):
            allow(tmp_path / "bad.key", clients, False)
    with pytest.raises(UsageError, match="holds no public key"):
        allow(tmp_path / "absent.key", clients, False)
    odd = key.with_name("-rf.key")
    odd.write_bytes(key.read_bytes())
    with pytest.raises(UsageError, match="cannot name a key"):
        allow(odd, clients, False)
    assert listed(clients) == []


def test_the_place_is_found_by_the_file_of_the_daemon(tmp_path: Path, clients: Path) -> None:
    text = "[engine]\nname = 'reach'\n[bus]\n"
    (tmp_path / "pick.toml").write_text(f"{text}secret_key = 'k'\nauthorized = '{clients}'\n")
    assert find_clients(str(tmp_path / "pick.toml")) == clients
    (tmp_path / "alone.toml").write_text(text)
    with pytest.raises(UsageError, match=r"alone\.toml has no \[bus\] authorized: it lets nobody in"):
        find_clients(str(tmp_path / "alone.toml"))
    with pytest.raises(UsageError, match="there is no folder"):
        find_clients(str(tmp_path / "nowhere"))
    with pytest.raises(ConfigError):
        find_clients(str(tmp_path / "nowhere.toml"))


def test_a_folder_that_refuses_is_one_line(tmp_path: Path, clients: Path) -> None:
    key = made(tmp_path)
    (clients / "operate").write_text("no folder")
    with pytest.raises(EdgedError, match=r"cannot write .*; check its owner"):
        allow(key, clients, True)
