"""What the browser is sent of a picture and a verdict: read back byte by byte against the messages it was made of."""

from __future__ import annotations

import json
import struct
import zlib
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from edged.client import Lost, Message
from edged.services.ui.live import view
from edged.wire import decode

GOLDEN = Path(__file__).parents[2] / "golden"


def message(name: str) -> Message:
    return decode((GOLDEN / f"{name}.bin").read_bytes())


def unpacked(data: bytes) -> tuple[dict[str, Any], dict[str, bytes]]:
    (length,) = struct.unpack_from("<I", data)
    about, at, parts = json.loads(data[4 : 4 + length]), 4 + length, {}
    for name, size in about["parts"]:
        parts[name] = data[at : at + size]
        at += size
    assert at == len(data)
    return about, parts


def test_a_picture_is_the_frame_and_labels_are_the_bus_s_own() -> None:
    frame, labels = message("frame"), message("labels")
    about, parts = unpacked(view(frame, labels, 7))
    image = cv2.imdecode(np.frombuffer(parts["jpeg"], np.uint8), cv2.IMREAD_COLOR)
    assert image is not None
    assert about["frame"]["size"] == [image.shape[1], image.shape[0]] == list(frame.arrays["image"].shape[1::-1])
    assert zlib.decompress(parts["labels"]) == labels.arrays["labels"].tobytes()
    assert about["verdict"]["shape"] == list(labels.arrays["labels"].shape)
    assert about["number"] == 7


def test_objects_an_action_and_a_hold() -> None:
    instances = message("instances")
    about, parts = unpacked(view(None, instances, 1))
    assert zlib.decompress(parts["bits"]) == instances.arrays["mask_bits"].tobytes()
    assert np.allclose(about["verdict"]["xyxy"], instances.arrays["xyxy"], atol=1e-4)
    assert about["verdict"]["mask_shape"] == instances.arrays["mask_shape"].tolist()
    action = message("action")
    about, _ = unpacked(view(None, action, 1))
    assert np.allclose(about["verdict"]["action"], action.arrays["action"][0], atol=1e-4)
    assert about["verdict"]["names"] == action.header["names"]
    about, _ = unpacked(view(None, message("hold_stop"), 1))
    assert (about["verdict"]["kind"], about["verdict"]["stop"]) == ("HOLD", True)


@pytest.mark.parametrize("verdict", [None, Lost(5.0, "silent")])
def test_without_a_verdict(verdict: Lost | None) -> None:
    about, parts = unpacked(view(None, verdict, 0))
    assert (about.get("lost"), parts) == (verdict.detail if verdict else None, {})
