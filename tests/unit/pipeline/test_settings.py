"""Noise that a replay repeats, and constants that an operator sets."""

from __future__ import annotations

import contextlib
from typing import Any

import numpy as np
import pytest
from cells import NOW_NS, manifest
from numpy.typing import NDArray

from edged.bundle.roles import ConstInput, NoiseInput
from edged.core.errors import UsageError
from edged.core.types import Observation
from edged.pipeline.encode import Encoder

SEEN = Observation({}, {}, NOW_NS)


def drawing(identity: bytes, *shapes: tuple[int, ...]) -> tuple[Encoder, list[NDArray[np.float32]]]:
    arrays = [np.zeros(shape, np.float32) for shape in shapes]
    names = [f"noise{index}" for index in range(len(shapes))]
    inputs = dict(zip(names, arrays, strict=True))
    return Encoder(manifest({name: NoiseInput() for name in names}), inputs, {}, {}, identity), arrays


def draws(encoder: Encoder, arrays: list[NDArray[np.float32]], count: int) -> list[list[NDArray[np.float32]]]:
    drawn = []
    for _ in range(count):
        assert encoder.encode(SEEN) is None
        drawn.append([array.copy() for array in arrays])
    return drawn


def test_noise_is_standard_normal_and_new_each_time() -> None:
    drawn = np.array([np.ravel(one) for one in draws(*drawing(b"identity", (1, 16, 32)), 200)])
    assert abs(drawn.mean()) < 0.02
    assert abs(drawn.std() - 1) < 0.02
    assert abs(np.corrcoef(drawn[:-1].ravel(), drawn[1:].ravel())[0, 1]) < 0.02
    assert (abs(drawn) < 1).mean() == pytest.approx(0.6827, abs=0.01)


def test_a_replay_draws_the_same_noise_from_any_inference_on() -> None:
    once = draws(*drawing(b"identity", (1, 4), (1, 2, 3)), 5)
    again, arrays = drawing(b"identity", (1, 4), (1, 2, 3))
    again.inferences = 3  # as a replay that begins there
    for made, wanted in zip(draws(again, arrays, 2), once[3:], strict=True):
        for one, other in zip(made, wanted, strict=True):
            np.testing.assert_array_equal(one, other)


def test_another_engine_draws_other_noise() -> None:
    (one,), (other,) = (draws(*drawing(name, (1, 64)), 1) for name in (b"identity", b"another!"))
    assert not np.isclose(one[0], other[0]).any()


def goal(dtype: Any = np.float32, shape: tuple[int, ...] = (1, 3), value: Any = (0.5, 0.5, 0.5)) -> Any:
    array = np.zeros(shape, dtype)
    made = manifest({"goal": ConstInput(value=value, settable=True), "fixed": ConstInput(value=2.0)})
    return Encoder(made, {"goal": array, "fixed": np.zeros(1, np.float32)}, {}, {}), array


def assign(encoder: Encoder, name: str, value: object) -> None:
    encoder.settings.put(name, encoder.settings.read(name, value))


def test_a_constant_is_set_before_the_next_run_and_not_during_one() -> None:
    encoder, array = goal()
    assert array.tolist() == [[0.5, 0.5, 0.5]]
    assign(encoder, "goal", [1, 2, 3])
    assert array.tolist() == [[0.5, 0.5, 0.5]]
    encoder.encode(SEEN)
    assert array.tolist() == [[1, 2, 3]]
    assert encoder.settings.describe() == {"goal": [1, 2, 3]}
    assign(encoder, "goal", 7)
    assign(encoder, "goal", None)
    encoder.encode(SEEN)
    assert array.tolist() == [[0.5, 0.5, 0.5]]
    assert encoder.settings.describe() == {"goal": "packed"}


@pytest.mark.parametrize(
    ("value", "says"),
    [
        ([1, 2], "its value [2]"),
        ([[1, 2, 3], [4, 5, 6]], "its value [2, 3]"),
        ([[1], [2, 3]], "different lengths"),
        ("pour", "finite numbers"),
        ([1, 2, float("nan")], "finite numbers"),
        ({"x": 1}, "finite numbers"),
        ([1, 2, 1e39], "not within"),
        (True, "finite numbers"),
    ],
)
def test_what_is_no_value_of_it_is_refused_and_changes_nothing(value: Any, says: str) -> None:
    encoder, array = goal()
    with pytest.raises(UsageError) as caught:
        assign(encoder, "goal", value)
    assert says in str(caught.value)
    assert "give 3 numbers as [1, 3], float32" in caught.value.remedy
    encoder.encode(SEEN)
    assert array.tolist() == [[0.5, 0.5, 0.5]]


def test_only_what_the_manifest_declares_may_be_set() -> None:
    encoder, _ = goal()
    for name in ("fixed", "state", ""):
        with pytest.raises(UsageError, match="no input that may be set") as caught:
            assign(encoder, name, 1)
        assert "goal" in caught.value.remedy


def test_whole_numbers_stay_whole() -> None:
    encoder, array = goal(np.int64, (1, 2), (3.0, 4.0))
    assign(encoder, "goal", [101, 2023])
    with pytest.raises(UsageError, match="fractions"):
        assign(encoder, "goal", [0.5, 1])
    encoder.encode(SEEN)
    assert array.tolist() == [[101, 2023]]


@pytest.mark.parametrize(
    ("dtype", "value", "shown"),
    [
        (np.bool_, [1, 0], [True, False]), (np.uint8, [255, 0], [255, 0]), (np.int64, [-(2**63), 7], [-(2**63), 7]),
        (np.float16, [0.1, 3], [0.1, 3.0]), (np.float64, [1e300, 0.1], [1e300, 0.1]),
    ],
)  # fmt: skip
def test_what_was_set_is_shown_whatever_its_type(dtype: Any, value: list[float], shown: list[Any]) -> None:
    encoder, array = goal(dtype, (1, 2), 1.0)
    assign(encoder, "goal", value)
    assert encoder.settings.describe() == {"goal": shown}
    encoder.encode(SEEN)
    np.testing.assert_array_equal(array, np.array([value], dtype))
    for other in (2**64 - 1, -(2**63), 1e308, 0.5):  # taken or refused, and shown
        with contextlib.suppress(UsageError):
            assign(encoder, "goal", other)
        assert isinstance(encoder.settings.describe()["goal"], list)


def test_what_was_set_goes_over_to_an_engine_that_can_take_it() -> None:
    before, _ = goal()
    assign(before, "goal", [1, 2, 3])
    after, array = goal()
    assert after.settings.keep(before.settings) == ()
    after.encode(SEEN)
    assert array.tolist() == [[1, 2, 3]]
    other, _ = goal(shape=(1, 4), value=0.5)
    assert other.settings.keep(before.settings) == ("goal",), "it does not fit"
    assert other.settings.describe() == {"goal": "packed"}
    assign(before, "goal", None)
    assert after.settings.keep(before.settings) == ()
    after.encode(SEEN)
    assert array.tolist() == [[0.5, 0.5, 0.5]], "what was taken back goes over too"
    fresh, array = goal()
    assert fresh.settings.keep(before.settings) == ()
