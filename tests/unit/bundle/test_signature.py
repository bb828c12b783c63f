"""A signature vouches for a whole bundle, by a key that somebody trusts; anything else is refused or warned about."""

from __future__ import annotations

import random
import subprocess
import sys
from pathlib import Path

import pytest
from models import policy_golden, policy_model, policy_recipe
from signing import bundle_path, keys, sign_bundle

from edged.bundle.bundle import Bundle, bundle_files, read_bundle, write_archive
from edged.bundle.signature import check_signature, trusted_keys
from edged.core.errors import EngineError, RefusedError, UsageError
from edged.pack import pack

__all__ = ["bundle_path", "keys"]


def trusted(keys: Path) -> Path:
    return keys.parent / "trusted"


def test_a_signed_bundle_is_let_in(bundle_path: Path, keys: Path) -> None:
    before = read_bundle(bundle_path)
    public = sign_bundle(bundle_path, keys / "alice.pem")
    bundle = read_bundle(bundle_path)
    assert check_signature(bundle, trusted(keys), required=True) is None
    assert bytes.fromhex(public) == (keys / "alice.pub").read_bytes() == (bundle.signature or b"")[:32]
    assert bundle.digest == before.digest, "who signs it does not change what it is"
    assert not [path for path in bundle_path.parent.iterdir() if path.name.startswith(".")]


def test_openssl_agrees_on_keys_and_signature(bundle_path: Path, keys: Path, tmp_path: Path) -> None:
    sign_bundle(bundle_path, keys / "alice.pem")
    (tmp_path / "raw").write_bytes((bundle_path / "signature").read_bytes()[32:])
    verify = ["openssl", "pkeyutl", "-verify", "-rawin", "-inkey", str(keys / "alice.pem")]
    files = ["-in", str(bundle_path / "SHA256SUMS"), "-sigfile", str(tmp_path / "raw")]
    try:
        done = subprocess.run([*verify, *files], capture_output=True, text=True, check=False)
    except FileNotFoundError:
        pytest.skip("no openssl here")
    assert done.returncode == 0, done.stdout + done.stderr


def test_signing_again_replaces_the_signature(bundle_path: Path, keys: Path) -> None:
    sign_bundle(bundle_path, keys / "bob.pem")
    sign_bundle(bundle_path, keys / "alice.pem")
    assert check_signature(read_bundle(bundle_path), trusted(keys), required=True) is None


def test_a_file_is_signed_like_a_directory(bundle_path: Path, keys: Path, tmp_path: Path) -> None:
    bundle = read_bundle(bundle_path)
    archive = tmp_path / "reach-1.edged"
    write_archive(archive, bundle_files(bundle.manifest, bundle.model, bundle.golden))
    sign_bundle(archive, keys / "alice.pem")
    assert check_signature(read_bundle(archive), trusted(keys), required=True) is None


def test_an_unsigned_one_is_warned_about_or_refused(bundle_path: Path, keys: Path) -> None:
    bundle = read_bundle(bundle_path)
    for folder in (None, trusted(keys)):
        assert "not signed" in (check_signature(bundle, folder, required=False) or "")
    with pytest.raises(RefusedError, match="not signed; sign it with 'edged pack MODEL --sign KEY'"):
        check_signature(bundle, trusted(keys), required=True)


@pytest.mark.parametrize("required", [True, False])
def test_another_key_is_refused_wherever_keys_are_named(bundle_path: Path, keys: Path, required: bool) -> None:
    sign_bundle(bundle_path, keys / "bob.pem")
    with pytest.raises(RefusedError, match=r"not trusted; .* trusts alice"):
        check_signature(read_bundle(bundle_path), trusted(keys), required)


def test_a_signature_without_trusted_keys_proves_nothing(bundle_path: Path, keys: Path) -> None:
    sign_bundle(bundle_path, keys / "bob.pem")
    assert "nobody was asked to trust" in (check_signature(read_bundle(bundle_path), None, required=False) or "")
    with pytest.raises(RefusedError, match="no key is trusted"):
        check_signature(read_bundle(bundle_path), None, required=True)


@pytest.mark.parametrize("folder", [True, False])
def test_every_flipped_bit_of_a_signature_is_refused(bundle_path: Path, keys: Path, folder: bool) -> None:
    """All 768, whether or not anybody is trusted: a broken signature is never just a missing one."""
    sign_bundle(bundle_path, keys / "alice.pem")
    bundle = read_bundle(bundle_path)
    good = bundle.signature or b""
    for bit in range(len(good) * 8):
        flipped = bytearray(good)
        flipped[bit // 8] ^= 1 << bit % 8
        with pytest.raises(RefusedError):
            check_signature(with_signature(bundle, bytes(flipped)), trusted(keys) if folder else None, required=False)


def test_a_signature_of_another_bundle_is_refused(bundle_path: Path, keys: Path, tmp_path: Path) -> None:
    other = pack(policy_model(), policy_recipe(version="2"), policy_golden(2), tmp_path / "store").path
    sign_bundle(other, keys / "alice.pem")
    (bundle_path / "signature").write_bytes((other / "signature").read_bytes())
    with pytest.raises(RefusedError, match="does not match SHA256SUMS"):
        check_signature(read_bundle(bundle_path), trusted(keys), required=False)


def test_nobody_signs_what_does_not_hold(bundle_path: Path, keys: Path) -> None:
    model = bytearray((bundle_path / "model.onnx").read_bytes())
    model[random.Random(1).randrange(len(model))] ^= 1
    (bundle_path / "model.onnx").write_bytes(model)
    with pytest.raises(RefusedError, match=r"model\.onnx does not match"):
        sign_bundle(bundle_path, keys / "alice.pem")
    assert not (bundle_path / "signature").exists()


def test_a_secret_key_others_can_read_signs_nothing(bundle_path: Path, keys: Path) -> None:
    (keys / "alice.pem").chmod(0o640)
    with pytest.raises(UsageError, match="chmod 600"):
        sign_bundle(bundle_path, keys / "alice.pem")


@pytest.mark.parametrize(
    "content", [b"", b"\0" * 32, b"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n"]
)
def test_what_is_no_secret_key_is_told(bundle_path: Path, tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "odd.pem"
    path.write_bytes(content)
    path.chmod(0o600)
    with pytest.raises(UsageError, match="holds no Ed25519 secret key"):
        sign_bundle(bundle_path, path)
    with pytest.raises(UsageError, match="edged keys new"):
        sign_bundle(bundle_path, tmp_path / "missing.pem")


def test_a_trusted_folder_holds_public_keys_only(keys: Path) -> None:
    (trusted(keys) / "README").write_text("not looked at")
    assert list(trusted_keys(trusted(keys))) == ["alice"]
    (trusted(keys) / "secret.pub").write_bytes((keys / "bob.pem").read_bytes())
    with pytest.raises(EngineError, match=r"secret\.pub is not a public key"):
        trusted_keys(trusted(keys))
    with pytest.raises(EngineError, match="cannot read the trusted keys"):
        trusted_keys(keys / "nowhere")


def test_without_the_library_a_signature_is_never_taken_for_good(bundle_path: Path, keys: Path) -> None:
    sign_bundle(bundle_path, keys / "alice.pem")
    code = f"""
import sys; sys.modules["cryptography"] = None
from pathlib import Path
from edged.bundle.bundle import read_bundle
from edged.core.errors import EngineError
from edged.bundle.signature import check_signature
bundle = read_bundle(Path({str(bundle_path)!r}))
assert "cannot be checked" in check_signature(bundle, None, required=False)
for required in (True, False):
    try:
        check_signature(bundle, Path({str(trusted(keys))!r}), required)
    except EngineError as error:
        assert "pip install 'edged[sign]'" in error.remedy
    else:
        sys.exit("let in")
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def with_signature(bundle: Bundle, signature: bytes) -> Bundle:
    given = {
        name: getattr(bundle, name) for name in ("name", "version", "manifest", "digest", "model", "golden", "sums")
    }
    return Bundle(**given, signature=signature)
