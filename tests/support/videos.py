"""Streams made by PyAV, and damage to them."""

from __future__ import annotations

import random
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from numpy.typing import NDArray

WIDTH, HEIGHT, RATE, KEY = 160, 128, 25, 12


def scene(index: int, width: int = WIDTH, height: int = HEIGHT) -> NDArray[np.uint8]:
    """A square that moves over a texture."""
    x, y = np.meshgrid(np.arange(width), np.arange(height))
    image = np.stack([(x + index) * 3 % 256, (y * 2) % 256, (x ^ y) % 256], axis=2).astype(np.uint8)
    image[20:60, (4 * index) % (width - 40) :][:, :40] = 255
    return image


def encode(path: Path, codec: str, count: int = 48, width: int = WIDTH, height: int = HEIGHT, rate: int = RATE) -> Path:
    with av.open(str(path), "w") as container:
        options = {"g": str(KEY), "bf": "0", "crf": "28"} if codec == "libx264" else {"g": str(KEY)}
        stream = container.add_stream(codec, rate=rate, options=options)
        stream.width, stream.height, stream.bit_rate = width, height, 2_000_000
        stream.pix_fmt = "yuvj420p" if codec == "mjpeg" else "yuv420p"
        for index in range(count):
            frame = av.VideoFrame.from_ndarray(scene(index, width, height), format="bgr24")
            frame.pts, frame.time_base = index, Fraction(1, rate)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


def damaged(path: Path, seed: int, share: tuple[float, float] = (0.3, 0.5), runs: int = 4) -> Path:
    """Some bytes overwritten in the middle of a file."""
    data, rng = bytearray(path.read_bytes()), random.Random(seed)
    for _ in range(runs):
        at = rng.randrange(round(len(data) * share[0]), round(len(data) * share[1]))
        data[at : at + 24] = rng.randbytes(24)
    bad = path.with_name(f"bad{seed}{path.suffix}")
    bad.write_bytes(data)
    return bad
