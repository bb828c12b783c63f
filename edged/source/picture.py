"""A picture in a file is whole and what it claims, or it is refused: the one way from a file to an image.

Decoders fill up what is missing with grey, scale 16 bits down to 8 and leave transparency out, without an error that a
program could see. So the file's own structure is read first: where it declares its end, its size and its depth.

    bgr8           8 bits a channel; grey is repeated; an opaque alpha channel is left out, a transparent pixel refused
    mono8          the same, and colours become grey by OpenCV's weights, those of ITU-R BT.601
    mono16         one channel of 9 to 16 bits, as it is
    bayer_<four>8  one channel of 8 bits, as it is, and not turned: that would be another mosaic
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from edged.core.files import ChangedError, NotRegularError, TooLongError, read_bounded
from edged.core.pixels import BAYER, PixelFormat, dtype_of, format_of
from edged.source.grabber import BadFrame
from edged.source.opencv import cv2

MOST_BYTES = 256 << 20
MOST_PIXELS = 8192 * 8192  # what a camera's width and height may be
AGAIN = "write the file again, under another name first, and rename it when it is whole"
JPEG_ALONE = frozenset((0x01, *range(0xD0, 0xD9)))  # markers without a length
JPEG_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
PNG_HEAD, JPEG_HEAD = b"\x89PNG\r\n\x1a\n", b"\xff\xd8"
EXIF = re.compile(rb"exif", re.IGNORECASE)  # how JPEG, PNG and WebP call the part that has it
PNG_ALPHA = (4, 6)  # colour types, RFC 2083 section 4.1.1
READ: Mapping[str, int] = {
    "bgr8": cv2.IMREAD_COLOR, "mono8": cv2.IMREAD_GRAYSCALE, "mono16": cv2.IMREAD_GRAYSCALE | cv2.IMREAD_ANYDEPTH,
}  # fmt: skip


class Claim(NamedTuple):
    """What a file declares; 0 = nothing."""

    width: int
    height: int
    bits: int
    opaque: bool = False


def read_picture(path: Path, pixels: PixelFormat = "bgr8") -> NDArray[Any]:
    """The picture as `pixels` has it, turned by its EXIF orientation. `BadFrame` names what is wrong with it."""
    return decode_picture(_bytes(path), str(path), AGAIN, pixels)


def decode_picture(data: bytes, what: str, remedy: str, pixels: PixelFormat = "bgr8") -> NDArray[Any]:
    """The same of bytes that are called `what`; `remedy` is that for bytes that are not whole."""
    try:
        claim = _claim(data)
    except ValueError as error:
        raise BadFrame(f"{what} is not whole: {error}", remedy) from None
    if claim.width * claim.height > MOST_PIXELS:
        fact = f"{what} says that it has {claim.width}x{claim.height} pixels, {MOST_PIXELS:,} are read at most"
        raise BadFrame(fact, "give a smaller picture")
    try:
        coded = np.frombuffer(data, np.uint8)
        as_is = pixels not in READ or pixels == "mono16"
        plain = cv2.imdecode(coded, cv2.IMREAD_UNCHANGED) if as_is or not (claim.bits and claim.opaque) else None
        if trouble := _other_pixels(claim, plain, pixels):
            raise BadFrame(f"{what} {trouble[0]}", trouble[1])
        image = cv2.imdecode(coded, READ[pixels]) if pixels in READ else plain
    except cv2.error as error:
        raise BadFrame(f"{what} cannot be decoded: {error.err or 'OpenCV refuses it'}", remedy) from None
    if image is None:
        raise BadFrame(f"{what} is not an image that OpenCV can read", "give a PNG or JPEG file")
    if claim.width and claim.height and {image.shape[0], image.shape[1]} != {claim.height, claim.width}:
        fact = f"{what} says {claim.width}x{claim.height}, and {image.shape[1]}x{image.shape[0]} came out of it"
        raise BadFrame(fact, remedy)
    return np.asarray(image, dtype_of(pixels))


def is_turned(path: Path, picture: NDArray[Any]) -> bool:
    """Whether EXIF turned or mirrored what `read_picture` gave of this file."""
    data = _bytes(path)
    if not EXIF.search(data):
        return False
    flags = READ[format_of(picture)] | cv2.IMREAD_IGNORE_ORIENTATION
    stored = cv2.imdecode(np.frombuffer(data, np.uint8), flags)
    return stored is not None and not np.array_equal(stored, picture)


def _other_pixels(claim: Claim, plain: NDArray[Any] | None, pixels: PixelFormat) -> tuple[str, str] | None:
    """Fact and remedy where the file's pixels are not, and do not become, what is asked for. `plain`: as they are."""
    depth = claim.bits or (0 if plain is None else 8 * plain.itemsize)
    if pixels == "mono16":
        if plain is None or (plain.ndim == 2 and plain.dtype == np.uint16):
            return None
        channels = plain.shape[2] if plain.ndim == 3 else 1
        return f"has {channels} channels of {depth} bits, mono16 has one of 16", "give a grey PNG of 16 bits"
    if depth > 8:
        return f"has {depth} bits a channel, {pixels} has 8", "save it with 8, or take format = 'mono16'"
    if pixels in BAYER and plain is not None and plain.ndim != 2:
        return f"has {plain.shape[2]} channels, a mosaic has one", "save the mosaic itself, as a grey PNG"
    if plain is not None and not claim.opaque and plain.ndim == 3 and plain.shape[2] == 4 and plain[..., 3].min() < 255:
        return "has transparent pixels, and cameras see none", "flatten it onto the background that is meant"
    return None


def _bytes(path: Path) -> bytes:
    try:
        return read_bounded(path, MOST_BYTES, follow=True)
    except NotRegularError:
        raise BadFrame(f"{path} is not a file", "give a PNG or JPEG file") from None
    except TooLongError:
        size = path.stat().st_size
        raise BadFrame(f"{path} has {size >> 20} MiB, {MOST_BYTES >> 20} are read", "give a smaller one") from None
    except ChangedError:
        raise BadFrame(f"{path} changed while it was read", AGAIN) from None
    except OSError as error:
        remedy = "check its owner" if isinstance(error, PermissionError) else "give a PNG or JPEG file"
        raise BadFrame(f"{path} cannot be read: {(error.strerror or str(error)).lower()}", remedy) from None


def _claim(data: bytes) -> Claim:
    """What the header declares; raises `ValueError` for a file that ends before it should."""
    if not data:
        raise ValueError("it is empty")
    if data.startswith(JPEG_HEAD):
        return _jpeg(data)
    if data.startswith(PNG_HEAD):
        return _png(data)
    if data.startswith(b"BM") and int.from_bytes(data[14:18], "little") >= 40:
        _reach(data, int.from_bytes(data[2:6], "little"))
        size = [abs(int.from_bytes(data[at : at + 4], "little", signed=True)) for at in (18, 22)]
        return Claim(size[0], size[1], 0, opaque=True)  # what seems to be alpha is mostly unused, and 0
    if data.startswith(b"RIFF") and data[8:12] == b"WEBP":
        _reach(data, 8 + int.from_bytes(data[4:8], "little"))
    if found := re.match(rb"P([56])(?:\s|#[^\n]*\n)+(\d+)\s+(\d+)\s+(\d+)\s", data):
        kind, width, height, most = (int(part) for part in found.groups())
        bits = most.bit_length()
        if width * height <= MOST_PIXELS:
            _reach(data, found.end() + width * height * (3 if kind == 6 else 1) * (1 + (bits > 8)))
        return Claim(width, height, bits, opaque=True)
    return Claim(0, 0, 0)


def _reach(data: bytes, end: int) -> None:
    if len(data) < end:
        raise ValueError(f"it has {len(data)} of {end} bytes")


def _png(data: bytes) -> Claim:
    """Chunks of length, type, content and checksum, up to IEND (RFC 2083)."""
    at, claim, opaque = len(PNG_HEAD), None, True
    while True:
        size = int.from_bytes(data[at : at + 4], "big")
        kind, end = data[at + 4 : at + 8], at + 12 + size
        _reach(data, end if len(data) >= at + 12 else at + 12)
        if zlib.crc32(memoryview(data)[at + 4 : end - 4]) != int.from_bytes(data[end - 4 : end], "big"):
            raise ValueError(f"the checksum of its part {kind.decode('latin1')} is wrong")
        if claim is None:
            if kind != b"IHDR" or size != 13:
                raise ValueError("it does not begin with its size")
            claim = Claim(int.from_bytes(data[16:20], "big"), int.from_bytes(data[20:24], "big"), data[24])
            opaque = data[25] not in PNG_ALPHA
        if kind == b"tRNS":
            opaque = False
        if kind == b"IEND":
            return claim._replace(opaque=opaque)
        at = end


def _jpeg(data: bytes) -> Claim:
    """Segments up to the end marker (ITU T.81, annex B); what a camera appends behind it is its own affair."""
    claim = Claim(0, 0, 0)
    for marker, start, end in _segments(data):
        if marker in JPEG_FRAMES and end - start >= 6:
            claim = Claim(
                int.from_bytes(data[start + 3 : start + 5], "big"),
                int.from_bytes(data[start + 1 : start + 3], "big"),
                data[start],
                opaque=True,
            )
    return claim


def _segments(data: bytes) -> Iterator[tuple[int, int, int]]:
    at = 2
    while True:
        if (at := data.find(b"\xff", at)) < 0 or at + 1 >= len(data):
            raise ValueError("its end is missing")
        marker = data[at + 1]
        if marker in (0x00, 0xFF) or marker in JPEG_ALONE:  # coded data, fill bytes, restart markers
            at += 1 if marker == 0xFF else 2
            continue
        if marker == 0xD9:
            return
        end = at + 2 + int.from_bytes(data[at + 2 : at + 4], "big")
        _reach(data, end)
        yield marker, at + 4, end
        at = end
