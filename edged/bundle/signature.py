"""Signatures: who vouches for an engine. Ed25519 over the bytes of SHA256SUMS, which seal every other file.

`signature` is the raw public key (32 bytes) and its signature (64 bytes), nothing else: base64 would have spare bits
that flip without effect. The key inside only names whose signature it claims to be; trust comes from the fact
that the same 32 bytes lie in a folder of trusted keys, as `<name>.pub`. Secret keys are PKCS#8 PEM files, 0600.
"""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING

from edged.bundle.bundle import (
    SIGNATURE_BYTES,
    Bundle,
)
from edged.core.errors import EngineError, RefusedError, UsageError
from edged.core.files import TooLongError, read_bounded

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

PUBLIC_BYTES = 32
PUBLIC_SUFFIX, SECRET_SUFFIX = ".pub", ".pem"
MAX_SECRET_BYTES = 16384
NO_LIBRARY = "pip install 'edged[sign]'"


class UncheckableError(EngineError):
    """There is a signature and nothing installed to check it with."""

    code = "uncheckable"


def check_signature(bundle: Bundle, trusted: Path | None, required: bool) -> str | None:
    """Refuse a bundle whose signature is wrong, or not of a key in `trusted` where that folder is given.

    `required` refuses an unsigned one too. Returns a warning where it is let in with less than a trusted signature,
    None where all is well. Raises `RefusedError`, and `EngineError` when a signature cannot be checked but has to be.
    """
    what = f"{bundle.name} {bundle.version}"
    if required and trusted is None:
        raise RefusedError("a signature is required and no key is trusted", "set [engine] trusted to a folder of keys")
    if bundle.signature is None:
        if required:
            raise RefusedError(
                f"{what} is not signed", "sign it with 'edged pack MODEL --sign KEY', or fetch the signed one"
            )
        return f"{what} is not signed: nobody vouches for it"
    try:
        public = check_own_signature(bundle)
    except UncheckableError as error:
        if trusted is not None or required:
            raise
        return str(error)
    if trusted is None:
        return f"{what} is signed by {public.hex()}, whom nobody was asked to trust; set [engine] trusted"
    if public not in (keys := trusted_keys(trusted)).values():
        names = ", ".join(sorted(keys)) or "nobody"
        raise RefusedError(
            f"{what} is signed by {public.hex()}, which is not trusted; {trusted} trusts {names}",
            "fetch an engine from somebody you trust, or put that key there as <name>.pub",
        )
    return None


def check_own_signature(bundle: Bundle) -> bytes:
    """The public key whose valid signature the bundle carries, trusted or not.

    Raises `RefusedError` for an invalid one, `UncheckableError` where nothing is installed to check it.
    """
    try:
        from cryptography.exceptions import InvalidSignature
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
    except ImportError:
        fact = f"the signature of {bundle.name} {bundle.version} cannot be checked: cryptography is not installed"
        raise UncheckableError(fact, NO_LIBRARY) from None
    assert bundle.signature is not None
    assert len(bundle.signature) == SIGNATURE_BYTES
    public = bundle.signature[:PUBLIC_BYTES]
    try:
        Ed25519PublicKey.from_public_bytes(public).verify(bundle.signature[PUBLIC_BYTES:], bundle.sums)
    except (InvalidSignature, ValueError):
        raise RefusedError(
            f"{bundle.name} {bundle.version}: the signature does not match SHA256SUMS", "fetch this engine again"
        ) from None
    return public


def trusted_keys(folder: Path) -> dict[str, bytes]:
    """The public keys of a folder: each `<name>.pub` holds 32 raw bytes; other files are not looked at."""
    try:
        paths = sorted(path for path in folder.iterdir() if path.suffix == PUBLIC_SUFFIX)
        keys = {path.stem: _public(path) for path in paths}
    except OSError as error:
        raise EngineError(f"cannot read the trusted keys {folder}: {error.strerror}", "check its owner") from None
    if odd := [name for name, key in keys.items() if len(key) != PUBLIC_BYTES]:
        fact = f"{folder / odd[0]}{PUBLIC_SUFFIX} is not a public key of {PUBLIC_BYTES} raw bytes"
        raise EngineError(fact, "replace it by the .pub file that 'edged keys new' wrote")
    return keys


def _public(path: Path) -> bytes:
    """The bytes of a key file, none of one that is too long. Links are followed: whoever made one chose the folder."""
    try:
        return read_bounded(path, PUBLIC_BYTES, follow=True)
    except TooLongError:
        return b""


def load_secret(path: Path) -> Ed25519PrivateKey:
    """The secret key in a PEM file that only its owner can read; raises `UsageError`."""
    try:
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
        from cryptography.hazmat.primitives.serialization import load_pem_private_key
    except ImportError:
        raise UsageError("nothing can be signed: cryptography is not installed", NO_LIBRARY) from None
    try:
        if path.stat().st_mode & 0o077:
            raise UsageError(f"the secret key {path} can be read by others", f"chmod 600 {shlex.quote(str(path))}")
        secret = load_pem_private_key(read_bounded(path, MAX_SECRET_BYTES, follow=True), password=None)
    except (TooLongError, ValueError, TypeError):
        secret = None
    except OSError as error:
        raise UsageError(f"cannot read the secret key {path}: {error.strerror}", "make one: edged keys new") from None
    if not isinstance(secret, Ed25519PrivateKey):
        raise UsageError(f"{path} holds no Ed25519 secret key", f"give a {SECRET_SUFFIX} file made by 'edged keys new'")
    return secret
