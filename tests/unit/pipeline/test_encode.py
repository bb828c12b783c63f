"""Frames and samples land in the engine's own arrays in the form the manifest says."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
import pytest
from cells import NAMES, NOW_NS, frame, image, manifest, sample, state
from numpy.typing import NDArray

from edged.bundle.roles import ConstInput, FeedbackInput, HiddenOutput
from edged.core.errors import RefusedError
from edged.core.types import Frame, Hold, Observation, Reason
from edged.pipeline.encode import Encoder

NO_OUTPUTS: dict[str, NDArray[Any]] = {}


def photo(height: int = 480, width: int = 640) -> NDArray[np.uint8]:
    pixels = np.random.default_rng(7).integers(0, 256, (height, width, 3), dtype=np.uint8)
    pixels.flags.writeable = False
    return pixels


def observation(pixels: NDArray[np.uint8] | None = None, **values: Any) -> Observation:
    frames = {} if pixels is None else {"tool": Frame("tool", 1, NOW_NS, pixels)}
    return Observation(frames, {name: sample(name, 0, v) for name, v in values.items()}, NOW_NS)


def encoded(pixels: NDArray[np.uint8], **role: Any) -> NDArray[np.uint8]:
    """What arrives in an engine input filled with rubbish before."""
    wanted = image(**role)
    array = np.full(wanted.shape, 99, wanted.dtype)
    encoder = Encoder(manifest({"image": wanted}), {"image": array}, NO_OUTPUTS, {})
    assert encoder.encode(observation(pixels)) is None
    return array[0]


@pytest.mark.parametrize(
    ("word", "flag"), [("linear", cv2.INTER_LINEAR), ("area", cv2.INTER_AREA), ("cubic", cv2.INTER_CUBIC)]
)
def test_stretch_fills_the_buffer_with_the_interpolation_of_the_manifest(word: str, flag: int) -> None:
    wanted = cv2.resize(photo(), (96, 64), interpolation=flag)
    np.testing.assert_array_equal(encoded(photo(), size=(64, 96), interpolation=word), wanted)


def test_letterbox_keeps_the_aspect_and_paints_the_rest() -> None:
    got = encoded(photo(), size=(96, 96), resize="letterbox", pad=114)
    np.testing.assert_array_equal(got[12:84], cv2.resize(photo(), (96, 72)))
    assert (got[:12] == 114).all()
    assert (got[84:] == 114).all()


def test_crop_takes_the_middle() -> None:
    got = encoded(photo(), size=(96, 96), resize="crop")
    np.testing.assert_array_equal(got, cv2.resize(np.ascontiguousarray(photo()[:, 80:560]), (96, 96)))


@pytest.mark.parametrize("size", [(96, 96), (480, 640)])
@pytest.mark.parametrize("fit", ["stretch", "letterbox", "crop"])
def test_a_grey_frame_is_in_each_channel_of_an_engine_of_colours(fit: str, size: tuple[int, int]) -> None:
    grey = photo()[..., 0]
    got = encoded(grey, size=size, resize=fit, pad=7)
    assert got.shape == (*size, 3)
    np.testing.assert_array_equal(got, encoded(np.repeat(grey[..., None], 3, 2), size=size, resize=fit, pad=7))


@pytest.mark.parametrize("fit", ["stretch", "letterbox", "crop"])
def test_an_engine_of_one_channel_gets_the_cameras_own_numbers(fit: str) -> None:
    grey, deep = photo()[..., 0], photo()[..., 1].astype(np.uint16) * 256 + 77
    got = encoded(grey, size=(96, 96), resize=fit, format="mono8", pad=3)
    assert (got.shape, got.dtype) == ((96, 96, 1), np.uint8)
    as_colours = encoded(np.repeat(grey[..., None], 3, 2), size=(96, 96), resize=fit, pad=3)
    np.testing.assert_array_equal(got[..., 0], as_colours[..., 0])
    got = encoded(deep, size=(480, 640), resize=fit, format="mono16")
    assert got.dtype == np.float32
    np.testing.assert_array_equal(got[..., 0], deep.astype(np.float32))
    got = encoded(deep, size=(96, 128), resize=fit, format="mono16")
    np.testing.assert_array_equal(got[..., 0], cv2.resize(deep, (128, 96)).astype(np.float32))


@pytest.mark.parametrize(
    ("pixels", "takes"), [(np.uint16, "bgr8"), (np.uint16, "mono8"), (np.uint8, "mono16"), (None, "mono8")]
)
def test_pixels_that_an_engine_does_not_take_are_a_hold(pixels: Any, takes: str) -> None:
    wanted = image(format=takes)
    encoder = Encoder(manifest({"image": wanted}), {"image": np.zeros(wanted.shape, wanted.dtype)}, NO_OUTPUTS, {})
    hold = encoder.encode(observation(photo() if pixels is None else photo()[..., 0].astype(pixels)))
    assert isinstance(hold, Hold)
    assert f"'image' takes {takes}" in hold.detail


def test_equal_sizes_are_copied_bit_by_bit() -> None:
    np.testing.assert_array_equal(encoded(photo(96, 96), resize="none"), photo(96, 96))
    np.testing.assert_array_equal(encoded(photo(96, 96), resize="stretch"), photo(96, 96))


def test_a_frame_that_may_not_be_resized_and_does_not_fit_is_a_hold() -> None:
    array = np.zeros((1, 96, 96, 3), np.uint8)
    encoder = Encoder(manifest({"image": image(resize="none")}), {"image": array}, NO_OUTPUTS, {})
    got = encoder.encode(observation(photo()))
    assert isinstance(got, Hold)
    assert got.reason is Reason.ENGINE
    assert "640x480" in got.detail
    assert encoder.encode(observation(photo(96, 96))) is None


def test_a_camera_that_changes_its_size_gets_new_borders() -> None:
    array = np.zeros((1, 96, 96, 3), np.uint8)
    encoder = Encoder(manifest({"image": image(resize="letterbox", pad=7)}), {"image": array}, NO_OUTPUTS, {})
    encoder.encode(observation(photo(640, 480)))
    encoder.encode(observation(photo(480, 640)))
    assert (array[0, :12] == 7).all()
    np.testing.assert_array_equal(array[0, 12:84], cv2.resize(photo(480, 640), (96, 72)))


def test_state_is_put_together_by_name() -> None:
    role = state(imu=("az", "ax"), joints=("j2", "j3"))
    array = np.zeros((1, 4), np.float32)
    encoder = Encoder(manifest({"state": role}), {"state": array}, NO_OUTPUTS, NAMES)
    assert encoder.encode(observation(joints=(1, 2, 3), imu=(4, 5, 6.5))) is None
    assert array.tolist() == [[6.5, 4, 2, 3]]


def test_a_constant_is_filled_once() -> None:
    array = np.zeros((1, 3), np.float32)
    Encoder(manifest({"scale": ConstInput(value=0.25)}), {"scale": array}, NO_OUTPUTS, {})
    assert (array == 0.25).all()


def recurrent(reset: str, shape: tuple[int, ...] = (1, 4)) -> tuple[Encoder, NDArray[Any], dict[str, NDArray[Any]]]:
    made = manifest({"h": FeedbackInput(output="h_out", reset=reset)}, {"h_out": HiddenOutput()})  # type: ignore[arg-type]
    array, outputs = np.full(shape, 9, np.float32), {"h_out": np.full(shape, 5, np.float32)}
    return Encoder(made, {"h": array}, outputs, {}), array, outputs


def test_a_recurrent_state_starts_at_zero_and_is_carried() -> None:
    encoder, array, outputs = recurrent("never")
    assert not array.any()
    assert encoder.carry(outputs) is None
    assert (array == 5).all()


@pytest.mark.parametrize(("rule", "events"), [("never", set()), ("swap", {"swap", "stop"}), ("stop", {"swap", "stop"})])
def test_a_recurrent_state_is_reset_by_its_rule(rule: str, events: set[str]) -> None:
    for event in ("swap", "stop"):
        encoder, array, outputs = recurrent(rule)
        encoder.carry(outputs)
        encoder.reset(event)  # type: ignore[arg-type]
        assert array.any() == (event not in events)


def test_a_recurrent_state_that_went_bad_is_reset_and_reported() -> None:
    encoder, array, outputs = recurrent("never")
    outputs["h_out"][0, 1] = np.nan
    got = encoder.carry(outputs)
    assert got is not None
    assert got.reason is Reason.NON_FINITE
    assert "h_out" in got.detail
    assert not array.any()


def test_only_a_state_that_is_never_reset_survives_a_swap() -> None:
    for rule, shape, carried in (("never", (1, 4), ("h",)), ("swap", (1, 4), ()), ("never", (1, 5), ())):
        old, _, outputs = recurrent("never")
        old.carry(outputs)
        new, array, new_outputs = recurrent(rule, shape)
        new.carry(new_outputs)  # a shadow run left something behind
        array += 1
        assert new.adopt(old) == carried
        assert (array == (5 if carried else 0)).all()


@pytest.mark.parametrize(
    ("role", "array"),
    [
        (image(size=(96, 96)), np.zeros((1, 96, 64, 3), np.uint8)),
        (image(size=(96, 96)), np.zeros((1, 96, 96, 3), np.float32)),
        (state(joints=("j1",)), np.zeros((1, 2), np.float32)),
        (state(joints=("j9",)), np.zeros((1, 1), np.float32)),
    ],
)
def test_arrays_and_names_that_do_not_fit_are_refused(role: Any, array: NDArray[Any]) -> None:
    with pytest.raises(RefusedError):
        Encoder(manifest({"x": role}), {"x": array}, NO_OUTPUTS, NAMES)


def test_the_frame_itself_is_never_written() -> None:
    shot = frame("tool", 0, (96, 96))
    array = np.zeros((1, 96, 96, 3), np.uint8)
    encoder = Encoder(manifest({"image": image()}), {"image": array}, NO_OUTPUTS, {})
    encoder.encode(Observation({"tool": shot}, {}, NOW_NS))
    array += 1
    assert not shot.image.any()
