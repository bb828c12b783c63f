"""Engines that were shipped stay what they were, byte for byte: cells pin them by their digests."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from edged.bundle.bundle import read_bundle
from edged.bundle.manifest import dump_manifest, lowest_schema

ROOT = Path(__file__).parents[3]
SHIPPED = {
    "engines/plate/1": "d4ee3601aa0e095326c24b2e90ea6f2cd355b88cc0e4ebbb5ea7d60791936549",
    "engines/parts/1": "6e3a04be1f81b5869773d7938b7907c0b81f4711f93428e74b801511f2b83e40",
    "engines/reach/1": "512d673988dd7af1c119993ee83ed88fbd313f7e33c77a2bef4c067a03d8bf07",
    "engines/reach/2": "66a8ee2b564ad42c854f1a82e94775006b1738fa2c62dd001f28f7135bdd354d",
    "engines/reach-chunk/1": "3d7bed441511fc65bddbf30a6508d387fd7e51195b35af7f79186f50c52454e0",
    "engines/reach-lstm/1": "a31fd463bae901e4267df67dcddd4dc74e05777f6e413923080d1ba7e7b7257d",
    "edged/demo/poisoned": "4a55df91a26ce8d99cdf938d5a2db4a77f9ddab721cdc1ba7777b3047f71c565",
    "edged/bench/engines/bench-native/1": "f268b9d9b3f143187ec3e3b1af80f15b6a8171643da84e6af923bd8c11bacb8d",
    "edged/bench/engines/bench-state/1": "f6e616770d7b93bef5e8d9d59da669612347099bcc65d61e54b03052e47e47f5",
    "edged/bench/engines/bench-slow/1": "f71491a062406f33cc8148f9e82adb76d6ba74a25e0ae24e1bb5b9a8216df495",
    "edged/bench/engines/bench-slow-masks/1": "8fbc14e2d97f5dffd37806858972fa5383aefe5df81bf8b92c94198943722712",
    "edged/bench/engines/bench-resize/1": "6755fe095e7e2c76e459c484c68978f906e0de67cbd0c05837f8cf5f77532fd9",
}
"""The sha256 of each one's SHA256SUMS."""


@pytest.mark.parametrize("folder", sorted(SHIPPED))
def test_a_shipped_engine_stays_what_it_was(folder: str):
    path = ROOT / folder
    assert hashlib.sha256((path / "SHA256SUMS").read_bytes()).hexdigest() == SHIPPED[folder]
    bundle = read_bundle(path)  # every file against the sums
    assert dump_manifest(lowest_schema(bundle.manifest)) == (path / "manifest.json").read_bytes()
