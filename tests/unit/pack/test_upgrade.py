"""An engine of schema 1 becomes one of schema 2: the same graph and samples, another manifest, version and identity."""

from __future__ import annotations

import shutil
from pathlib import Path

import msgspec
import pytest
from pack_cli import edged, fault

from edged.bundle.bundle import read_bundle, write_bundle
from edged.cli.verify import verify

ROOT = Path(__file__).parents[3]
REACH = ROOT / "engines" / "reach" / "2"


@pytest.fixture
def store(tmp_path: Path) -> Path:
    """A store of its own with the shipped policy."""
    shutil.copytree(REACH, tmp_path / "s" / "reach" / "2")
    return tmp_path / "s"


def test_graph_and_samples_stay_what_they_are(store: Path) -> None:
    said = edged("--upgrade", "reach/2", "--store", store)
    assert "reach/2-schema2 (schema 2)" in said
    before, after = read_bundle(store / "reach" / "2"), read_bundle(store / "reach" / "2-schema2")
    assert (before.manifest.schema, after.manifest.schema) == (1, 2)
    for file in ("model.onnx", "golden.npz"):
        assert (store / "reach/2" / file).read_bytes() == (store / "reach/2-schema2" / file).read_bytes()
    assert (store / "reach/2/manifest.json").read_bytes() == (REACH / "manifest.json").read_bytes()
    assert before.identity != after.identity
    assert after.manifest.provenance["upgraded_from"] == f"2 {before.identity.hex()}"
    assert verify(str(store / "reach" / "2-schema2")).exit_code == 0


@pytest.mark.parametrize(
    ("flags", "says"),
    [
        (["--version", "2"], "3 reach 2 cannot become another engine of the same version"),
        (["--version", "x" * 64], "3 the version"),
        (["--precision", "fp16"], "2 --precision has no meaning with --upgrade"),
        (["--axes", "a:rad"], "2 --axes has no meaning with --upgrade"),
    ],
)
def test_what_it_cannot_do_is_refused(store: Path, flags: list[str], says: str) -> None:
    assert fault("--upgrade", "reach/2", "--store", store, *flags).startswith(says)
    assert [path.name for path in (store / "reach").iterdir()] == ["2"]


def test_an_engine_of_schema_2_is_refused(store: Path) -> None:
    edged("--upgrade", "reach/2", "--store", store, "--version", "3")
    assert "has schema 2 already" in fault("--upgrade", "reach/3", "--store", store)


def test_one_that_does_not_give_its_golden_samples_is_refused(tmp_path: Path) -> None:
    right = read_bundle(REACH)
    wrong = {name: array + 1 if "/out/" in name else array for name, array in right.golden.items()}
    write_bundle(tmp_path / "s", msgspec.structs.replace(right.manifest, version="1"), right.model, wrong)
    assert "does not give its golden samples" in fault("--upgrade", "reach/1", "--store", tmp_path / "s")
