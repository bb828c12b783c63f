"""A picture is whole and what it claims, or refused with the reason; a folder goes on after it."""

from __future__ import annotations

import os
import stat
import struct
import zlib
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from waiting import camera, until

from edged.cli.infer import infer_file
from edged.core import files
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
    assert refusal(tmp_path / f"a{kind}", coded(kind, deep)) == "has 16 bits a channel, bgr8 has 8"


def with_orientation(orientation: int) -> bytes:
    """A JPEG whose EXIF says how it is to be turned (tag 0x0112 of its first directory)."""
    tiff = b"II*\0" + struct.pack("<IHHHIII", 8, 1, 0x0112, 3, 1, orientation, 0)
    exif = b"Exif\0\0" + tiff
    data = coded(".jpg", CORNER, cv2.IMWRITE_JPEG_QUALITY, 100)
    return data[:2] + b"\xff\xe1" + struct.pack(">H", len(exif) + 2) + exif + data[2:]


CORNER = np.zeros((48, 64, 3), np.uint8)
CORNER[:16, :16] = 255  # at the top left, as the sensor saw it


@pytest.mark.parametrize("pixels", ["bgr8", "mono8"])
@pytest.mark.parametrize(
    ("orientation", "shape", "corner"),
    [(1, (48, 64), (0, 0)), (2, (48, 64), (0, -1)), (3, (48, 64), (-1, -1)), (4, (48, 64), (-1, 0)),
     (5, (64, 48), (0, 0)), (6, (64, 48), (0, -1)), (7, (64, 48), (-1, -1)), (8, (64, 48), (-1, 0))],
)  # fmt: skip
def test_pictures_are_turned_as_their_exif_says(
    tmp_path: Path, pixels: Any, orientation: int, shape: tuple[int, int], corner: tuple[int, int]
):
    (tmp_path / "a.jpg").write_bytes(with_orientation(orientation))
    image = read_picture(tmp_path / "a.jpg", pixels)
    assert image.shape[:2] == shape
    light = {at: int(image[at].min()) for at in ((0, 0), (0, -1), (-1, 0), (-1, -1))}
    assert [at for at, value in light.items() if value > 200] == [corner]
    assert sum(value < 50 for value in light.values()) == 3


@pytest.mark.parametrize("kind", [".png", ".webp", ".tif"])
def test_an_opaque_alpha_channel_is_left_out_and_a_transparent_pixel_refused(tmp_path: Path, kind: str):
    clear = np.dstack([NOISE, np.full((48, 64), 255, np.uint8)])
    lossless = (cv2.IMWRITE_WEBP_QUALITY, 101) if kind == ".webp" else ()
    (tmp_path / f"a{kind}").write_bytes(coded(kind, clear, *lossless))
    assert np.array_equal(read_picture(tmp_path / f"a{kind}"), NOISE)
    clear[20, 30, 3] = 254
    said = refusal(tmp_path / f"b{kind}", coded(kind, clear, *lossless))
    assert said == "has transparent pixels, and cameras see none"


@pytest.mark.parametrize("kind", KINDS)
def test_grey_is_repeated_and_colours_become_grey(tmp_path: Path, kind: str):
    lossless = (cv2.IMWRITE_WEBP_QUALITY, 101) if kind == ".webp" else (cv2.IMWRITE_JPEG_QUALITY, 100)
    options = lossless if kind in (".webp", ".jpg") else ()
    smooth = cv2.GaussianBlur(NOISE, (0, 0), 6)  # which a JPEG keeps
    grey = smooth[..., 1]
    plain = np.repeat(grey[..., None], 3, 2) if kind in (".pgm", ".ppm") else grey  # as `coded` and OpenCV want it
    (tmp_path / f"grey{kind}").write_bytes(coded(kind, plain, *options))
    (tmp_path / f"colour{kind}").write_bytes(coded(kind, smooth, *options))
    seen = read_picture(tmp_path / f"grey{kind}")
    assert np.abs(seen.astype(int) - grey[..., None]).max() <= 2
    assert np.abs(read_picture(tmp_path / f"grey{kind}", "mono8").astype(int) - grey).max() <= 2
    weights = smooth[..., 0] if kind == ".pgm" else smooth @ np.array([0.114, 0.587, 0.299])
    assert np.abs(read_picture(tmp_path / f"colour{kind}", "mono8") - weights).max() <= 3


@pytest.mark.parametrize("kind", [".png", ".tif", ".pgm"])
def test_16_bits_are_kept_where_the_format_has_them(tmp_path: Path, kind: str):
    deep = (NOISE[..., 0].astype(np.uint16) << 4) + 7
    path = tmp_path / f"a{kind}"
    ok, data = cv2.imencode(kind, deep)
    path.write_bytes(bytes(data))
    assert ok
    assert np.array_equal(read_picture(path, "mono16"), deep)
    assert "bits a channel, mono8 has 8" in _refused(path, "mono8")
    path.write_bytes(coded(kind))
    assert "mono16 has one of 16" in _refused(path, "mono16")


def _refused(path: Path, pixels: Any) -> str:
    with pytest.raises(BadFrame) as caught:
        read_picture(path, pixels)
    return caught.value.fact


def test_a_changed_byte_of_a_png_is_found(tmp_path: Path):
    content = bytearray(coded(".png"))
    content[len(content) // 2] ^= 1
    assert "checksum" in refusal(tmp_path / "a.png", bytes(content))


def test_what_is_no_file_is_refused(tmp_path: Path):
    (tmp_path / "a.png").mkdir()
    with pytest.raises(BadFrame, match="is not a file"):
        read_picture(tmp_path / "a.png")


def test_a_picture_that_changes_while_it_is_read_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    whole = tmp_path.stat()

    def grown(descriptor: int) -> os.stat_result:
        return os.stat_result((stat.S_IFREG, *whole[1:6], 5, *whole[7:10]))

    (tmp_path / "a.png").write_bytes(coded(".png"))
    monkeypatch.setattr(files.os, "fstat", grown)
    with pytest.raises(BadFrame, match="changed while it was read"):
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


def test_a_picture_of_blanks_takes_no_longer_than_others(tmp_path: Path):
    """Its head is looked for once: a pattern with two ways to read each blank took twice as long for each."""
    refusal(tmp_path / "a.pgm", b"P5" + b" " * 5000 + b"x")
