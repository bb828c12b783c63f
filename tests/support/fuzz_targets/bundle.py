"""An engine's files: `RefusedError`, or what a daemon could go on with.

The first byte says what the rest is: a whole `.edged` file, or one of its files in an engine that is sealed anew around
it, so that more than the seal is tried.
"""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

from bundles import a_manifest, golden
from fuzz import WORDS, Target, check_helpful, in_memory
from hypothesis import strategies as st
from models import policy_model

from edged.bundle.archive import read_stored_zip, write_stored_zip
from edged.bundle.bundle import GOLDEN, MANIFEST, MODEL, SEALED, SIGNATURE, SUMS, bundle_files, open_bundle, seal
from edged.bundle.samples import split_samples
from edged.bundle.signature import check_own_signature
from edged.core.errors import RefusedError
from edged.swap.drop import IncompleteError, inspect

PARTS = ("", MANIFEST, MODEL, GOLDEN, SIGNATURE, SUMS)
NPY = b"\x93NUMPY\x01\x00"


@lru_cache(maxsize=1)
def _files() -> dict[str, bytes]:
    return bundle_files(a_manifest(), policy_model(), golden())


@lru_cache(maxsize=1)
def _drop() -> Path:
    return in_memory("fuzz-bundle") / "reach-1.edged"


def check(data: bytes) -> None:
    """Read it as a drop, and as a bundle."""
    part, rest = PARTS[data[0] % len(PARTS) if data else 0], data[1:]
    try:
        if part:
            files = {**_files(), part: rest}
            if part in SEALED:
                files[SUMS] = seal(files)
        else:
            _drop().write_bytes(rest)
            _look_at_drop()
            files = read_stored_zip(rest, "reach-1.edged")
        bundle = open_bundle(files, "reach/1")
        for given, made in split_samples(bundle.golden):
            assert sum(array.nbytes for array in (*given.values(), *made.values())) <= len(files[GOLDEN])
        if bundle.signature is not None:
            check_own_signature(bundle)
    except RefusedError as error:
        check_helpful(error)


def _look_at_drop() -> None:
    try:
        inspect(_drop(), "reach")
    except IncompleteError:
        pass
    except RefusedError as error:
        check_helpful(error)


def _npy(header: bytes, body: bytes) -> bytes:
    return NPY + len(header).to_bytes(2, "little") + header + body


_HEADERS = st.builds(
    lambda shape, descr, order: b"{'descr': %s, 'fortran_order': %s, 'shape': %s, }" % (descr, order, shape),
    st.lists(st.sampled_from([0, 1, 2, 3, -1, -5, 1 << 40, 1 << 63]), max_size=4).map(
        lambda s: repr(tuple(s)).encode()
    ),
    st.sampled_from(
        [b"'<f4'", b"'|u1'", b"'|O'", b"'<f4,<f4'", b"[('a', '<f4')]", b"'|V0'", b"'<U4'", b"1L", b"'<f16'"]
    ),
    st.sampled_from([b"False", b"True", b"0", b"None"]),
) | st.binary(max_size=60)
_ARRAY = st.builds(_npy, _HEADERS, st.sampled_from([b"", bytes(4), bytes(8), bytes(24)]) | st.binary(max_size=16))
_NAMES = st.sampled_from(["000/in/state.npy", "000/out/action.npy", "000/in/image.npy", "x", "a/b/c/d", "../x", ""])
_SAMPLES = st.dictionaries(_NAMES, _ARRAY, max_size=5).map(lambda members: b"\x03" + write_stored_zip(members))
_WHOLE = st.dictionaries(
    st.sampled_from([MANIFEST, MODEL, GOLDEN, SUMS, SIGNATURE, "more"]), st.binary(max_size=40), max_size=6
).map(lambda members: b"\0" + write_stored_zip({**_files(), **members}))
_FIELD = st.builds(
    lambda number, kind, rest: bytes([number << 3 & 255 | kind]) + rest,
    st.integers(0, 31), st.integers(0, 5), st.sampled_from(WORDS) | st.binary(max_size=12),
)  # fmt: skip
_GRAPH = st.lists(_FIELD, max_size=12).map(lambda fields: b"\x02" + b"".join(fields))
SEEDS = (
    b"\0" + write_stored_zip(_files()),
    *(bytes([PARTS.index(name)]) + _files()[name] for name in (MANIFEST, MODEL, GOLDEN, SUMS)),
    b"\x04" + bytes(96),
)
TARGET = Target("bundle", check, SEEDS, st.one_of(_SAMPLES, _WHOLE, _GRAPH))
