"""Statistics are found in the files that trainers leave, and never by luck."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from statfiles import statistics, write_safetensors

from edged.core.errors import RefusedError, UsageError
from edged.pack.statfile import choose, read_statistics


def as_file(folder: Path, kind: str) -> Path:
    groups = statistics()
    flat = {f"{name}.{key}": np.asarray(values) for name, group in groups.items() for key, values in group.items()}
    path = folder / f"stats.{kind.rpartition(' ')[2]}"
    match kind:
        case "nested json":
            path.write_text(json.dumps({"norm_stats": groups}, default=np.ndarray.tolist))
        case "flat json":
            path.write_text(json.dumps({**flat, "note": "made today", "count": 7}, default=np.ndarray.tolist))
        case "npz":
            np.savez(path, **flat, names=np.array(["a"]))
        case "safetensors":
            write_safetensors(path, {**flat, "weight": np.ones(4)})
    return path


@pytest.mark.parametrize("kind", ["nested json", "flat json", "npz", "safetensors"])
def test_every_kind_of_file_gives_the_same(tmp_path: Path, kind: str) -> None:
    found = choose(read_statistics(as_file(tmp_path, kind)), "action")
    assert set(found) == {"mean", "std", "min", "max", "q01", "q99"}
    np.testing.assert_allclose(found["q01"], statistics()["action"]["q01"], rtol=1e-6)


def test_statistics_of_each_step_keep_their_shape(tmp_path: Path) -> None:
    (tmp_path / "s.json").write_text(json.dumps({"action": {"mean": [[1, 2], [3, 4]], "std": [[1, 1], [2, 2]]}}))
    assert choose(read_statistics(tmp_path / "s.json"), "action")["mean"].shape == (2, 2)


def test_a_key_that_is_not_there_or_there_twice_is_refused_with_those_found() -> None:
    one = {"a.state": {}, "b.state": {}, "action": {}}
    with pytest.raises(RefusedError, match=r"no statistics for 'qpos' \(found: a.state, action, b.state\)"):
        choose(one, "qpos")
    with pytest.raises(RefusedError, match="2 statistics for 'state'"):
        choose(one, "state")
    assert choose({"state": {"mean": 1}, "other": {}}, "state") == {"mean": 1}


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("s.json", b"{", "cannot read"),
        ("s.json", b'{"weights": [1, 2]}', "holds no statistics"),
        ("s.npz", b"PK", "cannot read"),
        ("s.safetensors", b"\xff" * 9, "not a safetensors file"),
        ("s.safetensors", (13).to_bytes(8, "little") + b'{"a.mean": 1}', "cannot read"),
        ("s.safetensors", (2).to_bytes(8, "little") + b"[]", "its header is no table"),
        ("s.pt", b"", "give a .json, .npz or .safetensors"),
    ],
)
def test_what_cannot_be_read_is_refused(tmp_path: Path, name: str, content: bytes, says: str) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(RefusedError, match=says):
        read_statistics(tmp_path / name)
    with pytest.raises(UsageError, match="cannot read"):
        read_statistics(tmp_path / f"none-{name.replace('.pt', '.json')}")
