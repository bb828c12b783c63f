"""A picture is whole and what it claims, or refused with the reason; a folder goes on after it."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from waiting import camera, until

from edged.cli.infer import infer_file
from edged.core.errors import UsageError
from edged.source.grabber import BadFrame
from edged.source.picture import PNG_HEAD, read_picture

NOISE = np.random.default_rng(0).integers(0, 256, (48, 64, 3), np.uint8)
KINDS = (".png", ".jpg", ".bmp", ".webp", ".ppm", ".pgm", ".tif")


def coded(kind: str, image: np.ndarray = NOISE, *options: int) -> bytes:
    ok, data = cv2.imencode(kind, image[..., 0] if kind == ".pgm" else image, list(options))
    assert ok
    return bytes(data)


def refusal(path: Path, content: bytes) -> str:
    path.write_bytes(content)
    with pytest.raises(BadFrame) as caught:
        read_picture(path)
    assert caught.value.remedy
    return caught.value.fact.removeprefix(f"{path} ")


@pytest.mark.parametrize("kind", KINDS)
def test_whole_pictures_are_read(tmp_path: Path, kind: str):
    path = tmp_path / f"a{kind}"
    path.write_bytes(coded(kind))
    assert read_picture(path).shape == (48, 64, 3)
    path.write_bytes(coded(kind) + b"\xff\xd9 what a camera writes behind its picture")
    assert read_picture(path).shape == (48, 64, 3)


@pytest.mark.parametrize("options", [(cv2.IMWRITE_JPEG_PROGRESSIVE, 1), (cv2.IMWRITE_JPEG_RST_INTERVAL, 2)])
def test_jpegs_of_any_making_are_read_and_missed_when_cut(tmp_path: Path, options: tuple[int, int]):
    content = coded(".jpg", NOISE, *options)
    (tmp_path / "a.jpg").write_bytes(content)
    assert read_picture(tmp_path / "a.jpg").shape == (48, 64, 3)
    assert "not whole" in refusal(tmp_path / "b.jpg", content[:-2])


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("share", [0, 0.1, 0.5, 0.9, 0.999])
def test_pictures_that_are_cut_off_are_refused(tmp_path: Path, kind: str, share: float):
    content = coded(kind)
    refusal(tmp_path / f"a{kind}", content[: int(len(content) * share)])


def test_a_thumbnail_within_a_cut_picture_is_not_its_end(tmp_path: Path):
    small, large = coded(".jpg", NOISE[:16, :16]), coded(".jpg")
    thumb = b"\xff\xe1" + struct.pack(">H", len(small) + 2) + small
    (tmp_path / "whole.jpg").write_bytes(large[:2] + thumb + large[2:])
    assert read_picture(tmp_path / "whole.jpg").shape == (48, 64, 3)
    assert "its end is missing" in refusal(tmp_path / "cut.jpg", large[:2] + thumb + large[2 : len(large) // 2])


def header(width: int, height: int) -> bytes:
    """A PNG that claims a size and has nothing in it."""
    parts = [(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)), (b"IDAT", b""), (b"IEND", b"")]
    return PNG_HEAD + b"".join(
        struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body)) for kind, body in parts
    )


def test_sizes_that_cannot_be_are_refused_before_memory_is_taken(tmp_path: Path):
    assert refusal(tmp_path / "a.png", header(40000, 40000)).startswith("says that it has 40000x40000 pixels")
    assert "says that it has" in refusal(tmp_path / "a.ppm", b"P6\n99999 99999\n255\n")
    refusal(tmp_path / "b.png", header(0, 0))
    refusal(tmp_path / "c.png", header(64, 48))


@pytest.mark.parametrize("kind", [".png", ".tif", ".ppm"])
def test_deeper_pixels_are_refused_by_name(tmp_path: Path, kind: str):
    deep = NOISE.astype(np.uint16) * 16
    assert refusal(tmp_path / f"a{kind}", coded(kind, deep)) == "has 16 bits a channel, frames have 8"


def test_a_changed_byte_of_a_png_is_found(tmp_path: Path):
    content = bytearray(coded(".png"))
    content[len(content) // 2] ^= 1
    assert "checksum" in refusal(tmp_path / "a.png", bytes(content))


def test_what_is_no_file_is_refused(tmp_path: Path):
    (tmp_path / "a.png").mkdir()
    with pytest.raises(BadFrame, match="is not a file"):
        read_picture(tmp_path / "a.png")


@settings(max_examples=150, deadline=None)
@given(st.sampled_from(KINDS), st.integers(0, 4000), st.binary(max_size=8))
def test_whatever_is_in_a_file_it_is_a_picture_or_refused(
    tmp_path_factory: pytest.TempPathFactory, kind: str, at: int, junk: bytes
):
    content = bytearray(coded(kind))
    at %= len(content)
    content[at : at + len(junk)] = junk
    path = tmp_path_factory.getbasetemp() / f"any{kind}"
    path.write_bytes(content)
    try:
        image = read_picture(path)
    except BadFrame:
        return
    assert image.dtype == np.uint8
    assert image.shape[2] == 3


def test_a_folder_goes_on_after_pictures_that_are_refused(tmp_path: Path):
    (tmp_path / "a.png").write_bytes(coded(".png"))
    (tmp_path / "b.png").write_bytes(header(40000, 40000))
    (tmp_path / "c.jpg").write_bytes(coded(".jpg")[:-40])
    (tmp_path / "d.png").write_bytes(coded(".png"))
    with camera(tmp_path, loop=False) as thread:
        until(lambda: thread.stats()["state"] == "ended")
        stats = thread.stats()
    assert (stats["frames"], stats["refused"], stats["reconnects"]) == (2, 2, 0)


def test_infer_says_in_a_sentence_what_is_wrong_with_a_picture(tmp_path: Path):
    (tmp_path / "b.png").write_bytes(header(40000, 40000))
    with pytest.raises(UsageError, match="40000x40000 pixels") as caught:
        infer_file("plate", tmp_path / "b.png", tmp_path / "o.png")
    assert caught.value.exit_code == 2
