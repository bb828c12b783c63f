"""`edged verify` says of each engine what holds and what does not, and never passes what it did not check."""

from __future__ import annotations

import json
import random
import shutil
import subprocess
import sys
from pathlib import Path

import msgspec
import numpy as np
import pytest
from gpus import pretended_gpu
from models import policy_golden, policy_model, policy_recipe
from signing import sign_bundle
from swap_engines import files, golden, hanging_above, model, put

from edged.bundle.bundle import SUMS, bundle_files, read_bundle, read_files, seal, write_archive
from edged.bundle.store import Store
from edged.cli.keys import new_signing_key
from edged.cli.verify import facts, show, verify
from edged.core.errors import EXIT_FAILED, EXIT_OK, EXIT_REFUSED, EngineError, UsageError
from edged.pack import pack


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """reach 1 and 2, of which 1 is current."""
    for version in ("1", "2"):
        pack(policy_model(), policy_recipe(version=version), policy_golden(2), tmp_path / "store")
    made = Store(tmp_path / "store", tmp_path / "shipped")
    made.set_current("reach", "1")
    return made


@pytest.fixture
def keys(tmp_path: Path) -> Path:
    """Holds alice.pem and alice.pub, and so is also a folder of trusted keys."""
    new_signing_key("alice", tmp_path / "keys")
    return tmp_path / "keys"


def version(store: Store, name: str = "1") -> Path:
    return store.root / "reach" / name


def archive(store: Store, tmp_path: Path) -> Path:
    return write_archive(tmp_path / "reach-1.edged", read_files(version(store)))


def command(*arguments: object, prelude: str = "pass", **environ: str) -> subprocess.CompletedProcess[str]:
    """`edged ...` in a process of its own."""
    code = f"import sys; {prelude}; sys.argv = ['edged', *sys.argv[1:]]; from edged.cli.main import main; main()"
    argv = [sys.executable, "-c", code, *map(str, arguments)]
    return subprocess.run(argv, capture_output=True, text=True, check=False, env=environ or None)


def test_every_way_to_name_an_engine(store: Store, tmp_path: Path) -> None:
    for target, wanted in [
        ("reach", "1"),
        ("reach/2", "2"),
        (str(version(store, "2")), "2"),
        (str(archive(store, tmp_path)), "1"),
    ]:
        verdict = verify(target, store.root)
        assert verdict.exit_code == EXIT_OK, show(verdict)
        assert verdict.bundle is not None
        assert verdict.bundle.version == wanted


def test_a_table_says_what_was_checked(store: Store) -> None:
    lines = show(verify("reach", store.root)).splitlines()
    assert [line.split()[0] for line in lines[:-1]] == ["files", "manifest", "import", "signature", "graph", "golden"]
    assert lines[-1] == "reach 1 is verified"
    assert "self-consistency alone" in lines[2]
    assert "not signed" in lines[3]
    assert "action: error" in lines[5]
    assert "<= 0.0001" in lines[5]


def test_json_says_the_same(store: Store, keys: Path) -> None:
    public = sign_bundle(version(store), keys / "alice.pem")
    about = facts(verify("reach", store.root, keys))
    assert json.loads(msgspec.json.encode(about))["checks"][3]["result"] == "ok"
    assert (about["ok"], about["exit_code"], about["signed_by"]) == (True, 0, public)


def test_trusted_demands_a_trusted_signature(store: Store, keys: Path, tmp_path: Path) -> None:
    assert verify("reach", store.root, keys).exit_code == EXIT_REFUSED
    sign_bundle(version(store), keys / "alice.pem")
    assert verify("reach", store.root, keys).exit_code == EXIT_OK
    new_signing_key("bob", tmp_path / "others")
    verdict = verify("reach", store.root, tmp_path / "others")
    assert verdict.exit_code == EXIT_REFUSED
    assert "not trusted" in show(verdict)
    assert verdict.rows[-1].check == "signature", "nothing of it is loaded after that"


SEALED = ["manifest.json", "model.onnx", "golden.npz", "SHA256SUMS"]


@pytest.mark.parametrize(
    ("file", "signed"), [*((file, False) for file in SEALED), *((file, True) for file in [*SEALED, "signature"])]
)
def test_any_flipped_bit_of_any_file_is_refused(store: Store, keys: Path, file: str, signed: bool) -> None:
    """Nobody has to trust a key for this: 500 bits of each file, first and last among them."""
    if signed:
        sign_bundle(version(store), keys / "alice.pem")
    path = version(store) / file
    good = path.read_bytes()
    rng = random.Random(file)
    bits = {0, len(good) * 8 - 1, *(rng.randrange(len(good) * 8) for _ in range(498))}
    for bit in bits:
        flipped = bytearray(good)
        flipped[bit // 8] ^= 1 << bit % 8
        path.write_bytes(flipped)
        verdict = verify(str(version(store)), store)
        assert verdict.exit_code == EXIT_REFUSED, f"bit {bit}: {show(verdict)}"
    path.write_bytes(good)
    assert verify(str(version(store)), store).exit_code == EXIT_OK


def test_any_flipped_bit_of_an_archive_is_refused_or_changes_no_file(store: Store, keys: Path, tmp_path: Path) -> None:
    """A zip has bytes that mean nothing, such as times; all that is in the engine's files is sealed."""
    sign_bundle(version(store), keys / "alice.pem")
    path = archive(store, tmp_path)
    good, files = path.read_bytes(), read_files(path)
    rng = random.Random(7)
    refused = 0
    for bit in (rng.randrange(len(good) * 8) for _ in range(300)):
        flipped = bytearray(good)
        flipped[bit // 8] ^= 1 << bit % 8
        path.write_bytes(flipped)
        if verify(str(path), store.root, keys).exit_code == EXIT_OK:
            assert read_files(path) == files
        else:
            refused += 1
    assert refused > 200


def test_the_command_exits_3_for_a_flipped_bit(store: Store) -> None:
    path = version(store) / "model.onnx"
    path.write_bytes(path.read_bytes()[:-1] + b"!")
    done = command("verify", version(store))
    assert done.returncode == EXIT_REFUSED
    assert "model.onnx does not match SHA256SUMS" in done.stdout
    assert "fetch or pack this engine again" in done.stdout


def test_other_numbers_than_the_golden_ones_are_refused(store: Store) -> None:
    """A sealed, well-formed bundle whose graph does not do what it did: what a broken runtime looks like."""
    path = version(store)
    bundle = read_bundle(path)
    golden = {name: array + np.float32(0.1) if "/out/" in name else array for name, array in bundle.golden.items()}
    shutil.rmtree(path)
    path.mkdir()
    for name, content in bundle_files(bundle.manifest, bundle.model, golden).items():
        (path / name).write_bytes(content)
    verdict = verify("reach", store.root)
    assert verdict.exit_code == EXIT_REFUSED
    assert "not <= 0.0001, worst of 2 samples" in show(verdict)


def test_a_graph_that_is_not_the_manifests_is_refused(store: Store) -> None:
    path = version(store)
    files = read_files(path)
    manifest = json.loads(files["manifest.json"])
    manifest["inputs"]["image"]["size"] = [16, 12]
    files["manifest.json"] = msgspec.json.encode(manifest)
    files[SUMS] = seal(files)
    for name, content in files.items():
        (path / name).write_bytes(content)
    verdict = verify("reach", store.root)
    assert verdict.exit_code == EXIT_REFUSED
    assert verdict.rows[-1].check == "graph"
    assert "its role needs" in show(verdict)


def test_folders_that_call_it_something_else_are_refused(store: Store) -> None:
    version(store, "2").rename(version(store, "3"))
    verdict = verify("reach/3", store.root)
    assert verdict.exit_code == EXIT_REFUSED
    assert "holds reach 2" in show(verdict)


@pytest.mark.parametrize("module", ["onnxruntime", "cryptography"])
def test_with_nothing_to_check_with_it_is_exit_1_and_no_pass(store: Store, keys: Path, module: str) -> None:
    sign_bundle(version(store), keys / "alice.pem")
    done = command("verify", version(store), prelude=f"sys.modules[{module!r}] = None")
    assert done.returncode == EXIT_FAILED, done.stdout + done.stderr
    assert "not installed" in done.stdout
    assert "pip install 'edged[" in done.stdout
    assert done.stdout.splitlines()[-1].startswith("reach 1 is not verified")


def test_a_gpu_that_nothing_can_use_is_mentioned(store: Store, tmp_path: Path) -> None:
    done = command("verify", version(store), **pretended_gpu(tmp_path / "gpu"))
    assert done.returncode == EXIT_OK, done.stdout
    for backend in ("tensorrt", "cuda"):
        (line,) = [line for line in done.stdout.splitlines() if line.startswith(f"golden {backend} ")]
        assert "skipped  NVIDIA Pretend 1" in line


def test_names_that_are_not_there(store: Store, tmp_path: Path) -> None:
    verdict = verify("grasp", store.root)
    assert (verdict.exit_code, verdict.rows[-1].result) == (EXIT_FAILED, "failed")
    with pytest.raises(UsageError, match=r"there is no .*nothing\.edged"):
        verify(str(tmp_path / "nothing.edged"), store.root)
    with pytest.raises(EngineError, match="no version"):
        store.resolve("reach", "9")


def ultralytics(path: Path) -> Path:
    about = json.dumps({"description": "Ultralytics YOLO11n-seg model", "stride": 32}).encode()
    path.write_bytes(len(about).to_bytes(4, "little") + about + b"ftrt" + bytes(64))
    return path


@pytest.mark.parametrize(
    ("name", "fact", "remedy"),
    [
        ("model.engine", "Ultralytics YOLO11n-seg model", "yolo export format=onnx"),
        ("model.onnx", "without a manifest", "edged pack"),
        ("model.plan", "a TensorRT plan", "pack the ONNX"),
        ("notes.txt", "not an engine", ".edged file"),
    ],
)
def test_other_files_are_told_what_they_are(store: Store, tmp_path: Path, name: str, fact: str, remedy: str) -> None:
    path = tmp_path / name
    path.write_bytes(b"\x08\x08plain bytes")
    if name == "model.engine":
        ultralytics(path)
    with pytest.raises(UsageError) as caught:
        verify(str(path), store.root)
    assert fact in caught.value.fact
    assert remedy in caught.value.remedy


def test_a_plan_without_that_header_is_a_plan(store: Store, tmp_path: Path) -> None:
    (tmp_path / "model.engine").write_bytes(b"ftrt" + bytes(64))
    with pytest.raises(UsageError, match="a TensorRT plan: it fits one GPU"):
        verify(str(tmp_path / "model.engine"), store.root)


def test_a_folder_without_an_engine_is_told(store: Store, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="holds no engine"):
        verify(str(tmp_path), store.root)


def test_an_engine_that_hangs_is_refused_in_time(tmp_path: Path) -> None:
    folder = put(tmp_path / "hangs", files("hangs", model(hanging_above(0.0)), golden(model(), 8)))
    done = command("verify", folder, "--seconds", "2", "--json")
    assert done.returncode == EXIT_REFUSED, done.stderr
    last = json.loads(done.stdout)["checks"][-1]
    assert (last["check"], last["result"]) == ("golden cpu", "refused")
    assert last["detail"].endswith("hangs: it did not answer for 2 s")
