"""golden.npz: plain numpy arrays, the same bytes each time, nothing read that the header does not honestly describe."""

from __future__ import annotations

import io

import numpy as np
import pytest
from bundles import a_manifest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from models import policy_golden

from edged.bundle.archive import write_stored_zip
from edged.bundle.samples import check_samples, name_samples, read_samples, split_samples, write_samples
from edged.core.errors import RefusedError

DTYPES = st.sampled_from([np.uint8, np.float32, np.float16, np.int64, np.bool_])


@given(hnp.arrays(DTYPES, hnp.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=4)))
def test_round_trip(array: np.ndarray):
    data = write_samples({"000/in/x": array})
    back = read_samples(data)["000/in/x"]
    assert back.dtype == array.dtype
    assert back.shape == array.shape
    assert back.tobytes() == array.tobytes()
    assert not back.flags.writeable
    assert write_samples({"000/in/x": array.copy()}) == data


def test_numpy_reads_the_file_too():
    sample = policy_golden(1)
    named = name_samples(sample, [{"action": np.zeros((1, 2), np.float32)}])
    with np.load(io.BytesIO(write_samples(named))) as loaded:
        assert sorted(loaded) == ["000/in/image", "000/in/state", "000/out/action"]
        assert np.array_equal(loaded["000/in/image"], sample[0]["image"])


def test_samples_are_split_in_order():
    inputs = [{"x": np.array([number])} for number in range(11)]
    pairs = split_samples(name_samples(inputs, [{"y": -sample["x"]} for sample in inputs]))
    assert [(int(given["x"][0]), int(made["y"][0])) for given, made in pairs] == [(n, -n) for n in range(11)]


def test_an_array_that_claims_more_than_it_holds_is_refused():
    buffer = io.BytesIO()
    np.lib.format.write_array(buffer, np.zeros(4, np.float32), version=(1, 0))
    honest = buffer.getvalue()
    lying = honest.replace(b"(4,)", b"(9,)")
    assert lying != honest
    with pytest.raises(RefusedError, match="not what its 16 bytes hold"):
        read_samples(write_stored_zip({"000/in/x.npy": lying}))


def test_pickled_objects_are_refused():
    buffer = io.BytesIO()
    np.lib.format.write_array(buffer, np.array([{}], object), version=(1, 0), allow_pickle=True)
    with pytest.raises(RefusedError, match="000/in/x"):
        read_samples(write_stored_zip({"000/in/x.npy": buffer.getvalue()}))


@given(st.binary(max_size=300))
def test_any_bytes_as_an_array_are_read_or_refused(data: bytes):
    with pytest.raises(RefusedError):
        read_samples(write_stored_zip({"000/in/x.npy": b"\x93NUMPY\x01\x00" + data}))


def test_the_samples_must_give_every_tensor_and_no_other():
    action = np.zeros((1, 2), np.float32)
    good = name_samples(policy_golden(2), [{"action": action}] * 2)
    check_samples(good, a_manifest())
    for bad, says in (
        ({}, "no sample"),
        ({**good, "loose": action}, "'loose' is not named"),
        ({**good, "000/in/more": action}, r"has \['more'\] extra"),
        ({key: value for key, value in good.items() if key != "001/out/action"}, r"001/out lacks \['action'\]"),
    ):
        with pytest.raises(RefusedError, match=says):
            check_samples(bad, a_manifest())
