"""New keys: Ed25519 pairs that sign engines, and CURVE certificates for streams on the network."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from edged.bundle.signature import NO_LIBRARY, PUBLIC_SUFFIX, SECRET_SUFFIX
from edged.core.errors import UsageError
from edged.core.files import make_folder, write_new_file

NAME = r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}"


@dataclass(frozen=True, slots=True)
class KeyPair:
    """Where both halves were written, and the public one as text (hex; Z85 for CURVE)."""

    secret: Path
    public: Path
    key: str


def default_keys(environ: Mapping[str, str] = os.environ) -> Path:
    """The user's folder for keys."""
    return Path(environ.get("XDG_CONFIG_HOME") or Path.home() / ".config") / "edged" / "keys"


def new_signing_key(name: str, folder: Path) -> KeyPair:
    """Write `<name>.pem` (PKCS#8, 0600) and `<name>.pub` (32 raw bytes); a file that exists is never overwritten."""
    try:
        from cryptography.hazmat.primitives import serialization
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    except ImportError:
        raise UsageError("no key can be made: cryptography is not installed", NO_LIBRARY) from None
    secret = Ed25519PrivateKey.generate()
    pem = secret.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    raw = secret.public_key().public_bytes_raw()
    pair = KeyPair(folder / f"{name}{SECRET_SUFFIX}", folder / f"{name}{PUBLIC_SUFFIX}", raw.hex())
    _prepare(name, folder, pair)
    _write(pair, pem, raw)
    return pair


def new_curve_key(name: str, folder: Path) -> KeyPair:
    """Write `<name>.key_secret` (0600; `bus.secret_key`) and `<name>.key` (what the other side is given)."""
    import zmq
    import zmq.auth

    public, secret = zmq.curve_keypair()
    pair = KeyPair(folder / f"{name}.key_secret", folder / f"{name}.key", public.decode())
    _prepare(name, folder, pair)
    known = certificate(public.decode())
    _write(pair, f'{known}    secret-key = "{secret.decode()}"\n'.encode(), known.encode())
    zmq.auth.load_certificate(pair.secret)  # the format is ZeroMQ's own (ZPL, RFC 4); its reader decides
    return pair


def certificate(public: str) -> str:
    """What a file has of a public key alone."""
    return f'metadata\ncurve\n    public-key = "{public}"\n'


def check_name(name: str) -> None:
    """`UsageError` where a key cannot be called that."""
    if not re.fullmatch(NAME, name):
        raise UsageError(f"{name!r} cannot name a key", "use letters, digits, '.', '_' and '-'")


def _prepare(name: str, folder: Path, pair: KeyPair) -> None:
    check_name(name)
    for path in (pair.secret, pair.public):
        if path.exists() or path.is_symlink():
            raise UsageError(f"{path} exists, and keys are never overwritten", "give another name, or move it away")
    try:
        make_folder(folder, 0o700)
    except OSError as error:
        raise UsageError(f"cannot make {folder}: {error.strerror}", "give another --dir") from None


def _write(pair: KeyPair, secret: bytes, public: bytes) -> None:
    """The secret is 0600 from its first byte on (zmq.auth.create_certificates would leave it readable by others)."""
    try:
        write_new_file(pair.secret, secret, 0o600)
        try:
            write_new_file(pair.public, public, 0o644)
        except OSError:
            pair.secret.unlink()  # half a pair would keep its name for ever
            raise
    except OSError as error:
        raise UsageError(f"cannot write keys: {error.strerror}", "give another --dir") from None
