"""What is to be known of a plug-in before it is loaded."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Offered:
    """A device that a plug-in offers. `name`: what `[engine] device` may call it; `kind`: "CPU", "GPU" or "NPU"."""

    name: str
    kind: str
    about: str


@dataclass(frozen=True, slots=True)
class PlugIn:
    """`module` is that of PyPI's `package`, which `install` brings; `provider` is ONNX Runtime's name for it.

    `devices`: what it needs, for the refusal where it offers none; `runtime`: the oldest ONNX Runtime. `name_of`: the
    device's own name from its metadata. `options`: its options from threads, device and what makes the folder for what
    it compiles. `prefers`: kinds of device, the best first, where none is named; others are taken by name alone.
    `absent`: what its errors say where no device can be used, `lost`: where one is gone that was. `no_policy`: why it
    runs no policy, "" where it does.
    """

    backend: str
    package: str
    module: str
    provider: str
    install: str
    devices: str
    runtime: str
    prefers: tuple[str, ...]
    name_of: Callable[[Mapping[str, str]], str]
    absent: tuple[str, ...]
    lost: tuple[str, ...]
    options: Callable[[int, Offered, Callable[[], Path]], dict[str, str]]
    no_policy: str = ""
