"""People: who may do what on the page. A file of names, rights and hashed passwords.

Passwords are hashed with scrypt (RFC 7914; N 2^15, r 8, p 1: 32 MiB and some 100 ms each), each with a salt of its own.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import os
import re
import secrets
import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edged.core.errors import UNREADABLE, EdgedError, UsageError
from edged.core.files import make_folder, read_bounded, write_file

SYSTEM_FILE = Path("/etc/edged/people.json")
RIGHTS = ("hold", "operate", "arm")
"""hold: stop; operate: swap, rollback, reset; arm: let the robot move. Whoever has any of them may also stop."""
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}\Z")
MAX_BYTES = 1 << 20
LEAST_LETTERS, MOST_LETTERS = 10, 1024
_N, _R, _P, _LENGTH = 1 << 15, 8, 1, 32
_MEMORY = 64 << 20


@dataclass(frozen=True, slots=True)
class Person:
    """One entry. `rights` of RIGHTS; none of them = may look."""

    name: str
    rights: frozenset[str]
    salt: bytes
    digest: bytes


def people_file() -> Path:
    """The machine's file where there is one or we may make one, else this user's."""
    if os.access(SYSTEM_FILE, os.F_OK) or os.access(SYSTEM_FILE.parent, os.W_OK):
        return SYSTEM_FILE
    home = os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config"
    return Path(home) / "edged" / SYSTEM_FILE.name


def read_people(path: Path) -> dict[str, Person]:
    """Everybody in the file; nobody if it is not there. Raises `EdgedError` for one that cannot be understood, or that
    others may write."""
    try:
        if path.stat().st_mode & 0o022:
            raise EdgedError(f"{path} can be written by others than its owner", f"chmod go-w {shlex.quote(str(path))}")
        found = json.loads(read_bounded(path, MAX_BYTES))
        return {name: _person(name, entry) for name, entry in found["people"].items()}
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise EdgedError(f"{path} cannot be read ({error.strerror})", "check its owner") from None
    except (*UNREADABLE, LookupError, TypeError, AttributeError):
        raise EdgedError(f"{path} holds no people", "make it with 'edged person NAME'") from None


def put_person(path: Path, name: str, password: str, rights: frozenset[str]) -> None:
    """Add somebody or replace them. Raises `UsageError` for a name, right or password that cannot be."""
    if not NAME.match(name):
        raise UsageError(f"{name!r} cannot be a name", "use letters, digits, '.', '_' and '-', at most 63")
    if unknown := rights - set(RIGHTS):
        raise UsageError(f"no right {', '.join(sorted(unknown))}", f"rights are {', '.join(RIGHTS)}")
    if not LEAST_LETTERS <= len(password) <= MOST_LETTERS:
        raise UsageError("the password is too short or too long", f"take {LEAST_LETTERS} to {MOST_LETTERS} characters")
    salt = secrets.token_bytes(16)
    _write(path, {**read_people(path), name: Person(name, rights, salt, _hashed(password, salt))})


def remove_person(path: Path, name: str) -> None:
    """Take somebody out. Raises `UsageError` for one who is not in it."""
    people = read_people(path)
    if people.pop(name, None) is None:
        raise UsageError(f"{path} has no {name}", f"it has {', '.join(people) or 'nobody'}")
    _write(path, people)


def check_password(people: Mapping[str, Person], name: str, password: str) -> Person | None:
    """The person, if that is the password. A name that nobody has takes as long as a wrong password."""
    person = people.get(name)
    salt, digest = (person.salt, person.digest) if person else (b"\0" * 16, b"\0" * _LENGTH)
    given = _hashed(password[:MOST_LETTERS], salt)
    return person if hmac.compare_digest(given, digest) and person is not None else None


def _hashed(password: str, salt: bytes) -> bytes:
    return hashlib.scrypt(password.encode("utf-8", "surrogatepass"), salt=salt, n=_N, r=_R, p=_P, maxmem=_MEMORY,
                          dklen=_LENGTH)  # fmt: skip


def _person(name: str, entry: Mapping[str, Any]) -> Person:
    rights = frozenset(entry["rights"])
    if rights - set(RIGHTS) or not NAME.match(name):
        raise ValueError(name)
    return Person(name, rights, bytes.fromhex(entry["salt"]), bytes.fromhex(entry["scrypt"]))


def _write(path: Path, people: Mapping[str, Person]) -> None:
    entries = {
        person.name: {"rights": sorted(person.rights), "salt": person.salt.hex(), "scrypt": person.digest.hex()}
        for person in people.values()
    }
    try:
        make_folder(path.parent)
        write_file(path, json.dumps({"people": entries}, indent=1).encode() + b"\n", 0o600)
    except OSError as error:
        raise EdgedError(f"{path} cannot be written ({error.strerror})", "use sudo, or give --people") from None
