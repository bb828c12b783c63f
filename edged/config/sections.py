"""One frozen model per TOML section. Unknown keys are refused, every number is ranged."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from edged.config.calibration import CalibrationConfig
from edged.core.pixels import PixelFormat

NAME_PATTERN = r"^[a-z0-9][a-z0-9_-]{0,62}$"
VERSION_PATTERN = r"^[A-Za-z0-9][A-Za-z0-9._+-]{0,62}$"
Name = Annotated[str, Field(pattern=NAME_PATTERN)]
"""Daemons, cameras and sensors: they become topics, file names and environment variables."""

Millis = Annotated[float, Field(ge=1e-3, le=60_000, allow_inf_nan=False)]  # a microsecond at least
Finite = Annotated[float, Field(ge=-1e9, le=1e9, allow_inf_nan=False)]
Positive = Annotated[float, Field(gt=0, le=1e9, allow_inf_nan=False)]


class _Section(BaseModel):
    """Frozen, and without unknown keys."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class DaemonConfig(_Section):
    """Who this daemon is and where its files live."""

    name: Name = Field(description="topic prefix and folder name; the file's stem unless given")
    store: Path = Field(description="writable engine store; shipped engines are found without it")
    cache: Path = Field(description="what can be rebuilt, such as TensorRT plans")
    runtime: Path = Field(description="folder of the sockets and the lock; at most 107 bytes with the longest stream")


POLICY_HZ = (50.0, 500.0)
"""Ticks per second that a policy is made for: a stop leaves with the next one, and a machine has to keep up."""


class LoopConfig(_Section):
    """When the loop ticks and how the kernel treats it."""

    clock: str = Field(
        default="timer",
        pattern=r"^(timer|camera:.+)$",
        description="'timer', or 'camera:<name>' for a tick at each frame",
    )
    rate_hz: float = Field(default=30.0, ge=1e-3, le=2000, description="ticks per second of the timer clock")
    deadline_ms: float | None = Field(
        default=None,
        gt=0,
        le=60_000,
        description="a verdict later than this after its tick is Hold(LATE); one period if absent",
    )
    fifo: int = Field(
        default=0, ge=0, le=99, description="SCHED_FIFO priority of the loop; 0 leaves the scheduler alone"
    )
    cpus: tuple[Annotated[int, Field(ge=0, le=1023)], ...] = Field(
        default=(), description="CPUs the loop may run on; [] = all"
    )
    spin_ms: float = Field(
        default=0.0,
        ge=0,
        le=20,
        description="be awake for so long before each tick of the timer; with fifo, on a core of its own",
    )
    mlock: bool = Field(default=False, description="lock the process's memory, so that the loop never waits for a page")


class CameraConfig(_Section):
    """One camera, `[cameras.<name>]`."""

    uri: str = Field(
        min_length=1,
        repr=False,  # it may hold a password
        description="index, /dev path, rtsp://, file, image folder, gst:<pipeline>, genicam:<id>, zmq+ipc://, "
        "zmq+tcp://, shm:<name> or replay:",
    )
    width: int = Field(ge=16, le=8192, description="pixels; a frame of another size is refused")
    height: int = Field(ge=16, le=8192, description="pixels; a frame of another size is refused")
    fps: float = Field(default=30.0, ge=1e-3, le=1000, description="nominal frames per second")
    format: PixelFormat = Field(
        default="bgr8",
        description="what comes from the camera: bgr8, mono8, mono16, or the mosaic of its colour filter, "
        "bayer_rggb8, bayer_bggr8, bayer_gbrg8 or bayer_grbg8, which becomes bgr8",
    )
    loop: bool = Field(default=False, description="start a file or folder again at its end")
    latency_ms: float = Field(
        default=0.0, ge=0, le=10_000, description="capture to arrival, subtracted from arrival stamps"
    )
    max_age_ms: Millis = Field(default=100.0, description="an older frame is Hold(STALE)")
    max_skew_ms: Millis = Field(default=50.0, description="a frame further from the reference time is Hold(SKEW)")
    frozen: Literal["off"] | Annotated[int, Field(ge=2, le=1_000_000)] | None = Field(
        default=None,
        description="so many bit-equal pictures in a second or more (in a row, where a trigger makes them) are "
        "Hold(STALE); absent: 10 (2) for devices, 'off' for the others; a frame number of genicam: that comes again "
        "is, unless 'off'",
    )
    blank: Literal["off", "hold"] | None = Field(
        default=None,
        description="'hold': a black or saturated picture is Hold(STALE); absent: 'hold' for devices and "
        "genicam:, 'off' for the others and mono16",
    )
    share: str = Field(default="", max_length=64, description="also put its frames into shared memory, as shm:<share>")


class SensorConfig(_Section):
    """One stream of numbers, `[sensors.<name>]`."""

    endpoint: str = Field(
        pattern=r"^((ipc|tcp|inproc)://|replay:).+$", description="ZeroMQ endpoint to connect to, or replay:<file.npz>"
    )
    topic: str = Field(default="", max_length=200, description="topic to subscribe to; empty = everything")
    codec: str = Field(
        default="edged",
        pattern=r"^(edged|json|msgpack|struct:.+)$",
        description="edged, json, msgpack or struct:<format>",
    )
    names: tuple[Annotated[str, Field(min_length=1, max_length=64)], ...] = Field(
        min_length=1, max_length=1024, description="what the values are, in order; checked against the engine"
    )
    unit: str | tuple[str, ...] = Field(description="one unit for all values, or one per name")
    latency_ms: float = Field(
        default=0.0, ge=0, le=10_000, description="capture to arrival, subtracted from arrival stamps"
    )
    history_ms: Millis = Field(default=500.0, description="how far back samples are kept for alignment")
    max_age_ms: Millis = Field(default=50.0, description="an older sample is Hold(STALE)")
    max_skew_ms: Millis = Field(default=20.0, description="a sample further from the reference time is Hold(SKEW)")

    @property
    def units(self) -> tuple[str, ...]:
        """One unit per name."""
        return (self.unit,) * len(self.names) if isinstance(self.unit, str) else self.unit


Point = tuple[Finite, Finite]
Polygon = Annotated[tuple[Point, ...], Field(min_length=3, max_length=256)]
Area = Annotated[float, Field(ge=0, le=1e12)]


class RuleConfig(_Section):
    """One rule, `[[inspection.rules]]`: how many objects of which kind a good part has."""

    name: Name = Field(description="what results call it")
    classes: tuple[str, ...] = Field(default=(), description="class names it counts; [] = all")
    region: Annotated[tuple[Point, ...], Field(max_length=256)] = Field(
        default=(),
        description="corners [x, y] in pixels, in their order around it; objects whose centroid is inside count; [] = "
        "everywhere",
    )
    ignore: tuple[Polygon, ...] = Field(default=(), description="polygons in which objects do not count")
    min_score: float = Field(default=0.0, ge=0, le=1, description="least score that counts; not below the engine's own")
    min_area: float = Field(default=0.0, ge=0, le=1e9, description="least area that counts")
    min_count: int = Field(default=0, ge=0, le=1_000_000, description="fewer violate it: missing parts")
    max_count: int | None = Field(default=None, ge=0, le=1_000_000, description="more violate it; absent = any")
    max_area: Area | None = Field(default=None, description="more area of them together violates it; absent = any")
    violations: int = Field(default=1, ge=1, le=1000, description="in so many of the last results it must be violated")
    of_last: int = Field(
        default=1, ge=1, le=1000, description="how many results, each of another picture, `violations` looks back over"
    )
    unit: Literal["px", "mm2"] = Field(
        default="px", description="of min_area and max_area; mm2 needs [inspection.calibration]"
    )
    severity: Literal["fail", "warn"] = Field(default="fail", description="'warn' is told and decides nothing")


class InspectionConfig(_Section):
    """What a good part is; with this section, even an empty one, results are judged and published."""

    rules: Annotated[tuple[RuleConfig, ...], Field(max_length=64)] = Field(
        default=(), description="all of them have to hold for PASS; without rules nothing ever is"
    )
    thresholds: dict[str, Annotated[float, Field(ge=0, le=1)]] = Field(
        default={}, description="class -> least score of an object of it, not below the engine's own"
    )
    calibration: CalibrationConfig | None = Field(
        default=None, description="what a pixel is in mm, as edged's calibrate command writes it"
    )


class BusConfig(_Section):
    """What controllers receive and for how long it is good."""

    valid_ms: Millis | None = Field(
        default=None,
        description="how long a verdict may be obeyed after it was published; if absent 100, or three periods and 10 "
        "where that is more",
    )
    queue_mb: int = Field(
        default=64,
        ge=1,
        le=65_536,
        description="most that waits to be sent to all readers together, in MiB; how many may read follows from it",
    )
    bind: dict[str, str] = Field(
        default={}, description="stream -> extra endpoint, e.g. action = 'tcp://127.0.0.1:5601'"
    )
    insecure: bool = Field(default=False, description="allow streams on the network without keys")
    secret_key: Path | None = Field(default=None, description="the daemon's CURVE secret key file")
    authorized: Path | None = Field(
        default=None,
        description="folder of client public keys (.key): they may read, those in its folder operate/ also operate",
    )
    arm: bool = Field(
        default=False, description="keys in operate/ may also resume over the network; needs guard.enable beside it"
    )
    publish: tuple[str, ...] = Field(default=(), description="extra streams: 'frames', 'frames-<camera>', 'masks.zstd'")


class SwapConfig(_Section):
    """What a new engine has to prove before it stays."""

    shadow: bool = Field(default=True, description="run a new engine beside the old one on live input first")
    shadow_samples: int = Field(default=50, ge=1, le=100_000, description="inputs it has to answer in the shadow")
    shadow_seconds: float = Field(
        default=60.0, gt=0, le=86_400, description="longest wait for those inputs; then it is refused"
    )
    min_agreement: float | None = Field(
        default=None, ge=0, le=1, description="smallest agreement with the old one; absent = reported only"
    )
    probation_predictions: int = Field(
        default=1000, ge=0, le=10_000_000, description="predictions before it is committed"
    )
    probation_seconds: float = Field(default=10.0, ge=0, le=86_400, description="seconds before it is committed")
    probation_changes: float = Field(
        default=0.02, ge=0, le=1, description="share of answers that the guard may change in any case"
    )
    keep_versions: int = Field(
        default=5, ge=1, le=1000, description="versions kept besides the running and the previous one"
    )
    minimum: Literal["operator", "previous", "committed"] = Field(
        default="operator",
        description="what raises the oldest version that may run: 'operator' alone, or commits too: "
        "to what ran before it ('previous') or to itself ('committed': no rollback then)",
    )
    during: Literal["live", "hold"] | None = Field(
        default=None,
        description="'hold' publishes Holds while a new engine is loaded; absent: 'live' on the CPU, 'hold' on a GPU",
    )
    when: Literal["any", "held", "between_parts"] = Field(
        default="any",
        description="when a proven engine may take over: at once, while the robot is held, or while no part is "
        "under inspection; a rollback never waits",
    )
    windows: tuple[str, ...] = Field(
        default=(),
        max_length=50,
        description="and only at these times of the machine's clock: '22:00-05:00' or 'sat-sun 06:00-12:00'",
    )
    incoming: bool = Field(default=True, description="take engines that are dropped into <store>/<name>/incoming")
    settle_seconds: float = Field(
        default=30.0, gt=0, le=86_400, description="an incomplete drop without a change for so long is refused"
    )
    scan_seconds: float = Field(
        default=5.0, gt=0, le=3600, description="how often incoming is looked through, besides being watched"
    )
    trial_seconds: float = Field(default=600.0, gt=0, le=86_400, description="longest trial of a new engine")
    trial_memory_mb: int = Field(
        default=0, ge=0, le=1_000_000, description="most memory of a trial; 0 = half of what is available"
    )


class LogConfig(_Section):
    """What the log holds; the only section SIGHUP reads again."""

    level: Literal["debug", "info", "warning", "error"] = Field(
        default="info", description="least important line written"
    )
    format: Literal["text", "json"] = Field(default="text", description="'json' writes one object per line")
