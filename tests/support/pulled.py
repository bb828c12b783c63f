"""What is pulled in tests: an engine as one file, from a registry that does what a test wants, into a store."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from bundles import a_manifest, golden
from models import policy_model
from oci import Liar

from edged.bundle.archive import write_stored_zip
from edged.bundle.bundle import bundle_files
from edged.services.pull.pull import Pulled, Target
from edged.services.pull.pull import pull as run_pull
from edged.services.pull.reference import parse_reference
from edged.services.pull.registry import Access

HTTP = Access(plain_http=True, seconds=30)


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Logins of whoever runs the tests are not to be read."""
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    for name in ("http_proxy", "HTTP_PROXY", "https_proxy", "HTTPS_PROXY", "ORAS_USER", "ORAS_PASS"):
        monkeypatch.delenv(name, raising=False)
    return tmp_path / "home"


@pytest.fixture
def liar() -> Iterator[Liar]:
    liar = Liar()
    yield liar
    liar.close()


@pytest.fixture
def engine() -> bytes:
    """`reach` 3 as one `.edged` file."""
    return archive()


def archive(version: str = "3") -> bytes:
    return write_stored_zip(bundle_files(a_manifest(version=version), policy_model(), golden()))


def pull(reference: str, store: Path, access: Access = HTTP, engine: str = "", trusted: Path | None = None) -> Pulled:
    return run_pull(parse_reference(reference), Target(store, engine, trusted), access)


def left(store: Path) -> list[str]:
    """All that is in a store, notes of what was pulled left out."""
    return sorted(
        str(path.relative_to(store)) for path in store.rglob("*") if path.is_file() and ".pulled-" not in path.name
    )


def logins_file(path: Path, address: str, word: str) -> Path:
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps({"auths": {address: {"auth": base64.b64encode(word.encode()).decode()}}}))
    return path
