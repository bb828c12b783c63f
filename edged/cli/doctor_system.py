"""The part of `edged doctor` about everything but processors: wall clock, limits, memory, disk, GPU, versions."""

from __future__ import annotations

import ctypes
import os
import platform
import resource
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from edged import __version__
from edged.cli.finding import Finding, fault, untried, warning
from edged.cli.output import exists
from edged.core.errors import EdgedError
from edged.core.procfs import text_of
from edged.engine.device import choose_gpu, read_device
from edged.engine.gpu_info import read_gpu
from edged.engine.plug_in import PLUG_INS
from edged.engine.plug_in.provider import PlugIn

UNSYNCHRONISED = 0x40  # STA_UNSYNC of adjtimex(2)
# struct timex on 64 bits: modes, offset, freq, maxerror, esterror, status
TIMEX_BYTES, STATUS_AT, MAXERROR_AT = 256, 40, 24
WRITES = 5
SLOW_SYNC_S = 0.1
LEAST_STORE, LEAST_CACHE = 1 << 30, 2 << 30  # room for a few engines; for TensorRT plans
LEAST_FILES = 1024
LEAST_SHM = 64 << 20
FLEETING = ("tmpfs", "ramfs", "overlay")
FOREIGN = ("nfs", "nfs4", "cifs", "smb3", "fuse.sshfs", "9p")
MPS_PLACE = "CUDA_MPS_PIPE_DIRECTORY"
MPS_NAME = "nvidia-cuda-mps"  # as the kernel cuts it off
PACKAGES = (
    "numpy",
    "pyzmq",
    "msgspec",
    "onnxruntime",
    "onnxruntime-gpu",
    *(each.package for each in PLUG_INS.values()),
    "tensorrt",
    "opencv-python-headless",
    "av",
)


def check_sync(root: Path) -> Iterator[Finding]:
    """Whether something keeps the wall clock: stamps of logs and of other machines are compared by it."""
    if sys.maxsize < 1 << 32:
        yield untried("time sync", "not known for 32 bits")
        return
    timex = ctypes.create_string_buffer(TIMEX_BYTES)
    if ctypes.CDLL(None).adjtimex(timex) < 0:
        yield untried("time sync", "the kernel does not say")
        return
    status = int.from_bytes(timex.raw[STATUS_AT : STATUS_AT + 4], sys.byteorder)
    error_us = int.from_bytes(timex.raw[MAXERROR_AT : MAXERROR_AT + 8], sys.byteorder)
    ptp = " and a PTP clock" if any((root / "dev").glob("ptp*")) else ""
    if status & UNSYNCHRONISED:
        fact = f"nothing keeps the wall clock{ptp and ', though there is' + ptp.removeprefix(' and')}"
        yield warning("time sync", fact, "run chrony or systemd-timesyncd (ptp4l and phc2sys where cameras have PTP)")
    else:
        yield Finding("ok", "time sync", f"kept within {error_us / 1000:.0f} ms{ptp}")


def check_limits(fifo: int, mlock: bool, is_service: bool, asked: bool) -> Iterator[Finding]:
    """Whether this user's processes may be real-time; a service's limits are its unit's."""
    if is_service:
        yield Finding("ok", "limits", "the unit's own: LimitRTPRIO, LimitMEMLOCK, LimitNOFILE")
        return
    priority = 99 if os.geteuid() == 0 else resource.getrlimit(resource.RLIMIT_RTPRIO)[0] % (1 << 63)
    memory, files = resource.getrlimit(resource.RLIMIT_MEMLOCK)[0], resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    short = []
    if priority < (fifo or (0 if asked else 1)):
        short.append(("SCHED_FIFO" + (f" up to {priority}" if priority else " not at all"), "rtprio 95"))
    if mlock and memory != resource.RLIM_INFINITY and os.geteuid() != 0:
        short.append((f"{memory >> 10} KiB of locked memory", "memlock unlimited"))
    if files != resource.RLIM_INFINITY and files < 4096:
        short.append((f"{files} open files", "nofile 65536"))
    for fact, line in short:
        remedy = (
            f"write '@edged - {line}' into /etc/security/limits.d/edged.conf and log in again, or run it as a service"
        )
        yield warning("limits", f"this user may have {fact}", remedy)
    if not short:
        yield Finding("ok", "limits", "what is asked for may be had")


def check_memory(mlock: bool, root: Path) -> Iterator[Finding]:
    """Swap, huge pages, and room for frames in shared memory."""
    swaps = text_of(root / "proc/swaps").splitlines()[1:]
    if swaps and not mlock:
        yield warning("memory", "there is swap: a page of the loop may have to come from disk", "set mlock")
    huge = text_of(root / "sys/kernel/mm/transparent_hugepage/enabled")
    if "[always]" in huge:
        fact = "transparent huge pages are always on: the kernel stops processes to make them"
        yield warning("memory", fact, "echo madvise > /sys/kernel/mm/transparent_hugepage/enabled")
    try:
        shared = shutil.disk_usage(root / "dev/shm").total
    except OSError:
        shared = 0
    if shared < LEAST_SHM:
        fact = f"{shared >> 20} MiB of shared memory: too little for frames of a camera"
        yield warning("memory", fact, "mount /dev/shm larger (with Docker Compose shm_size: 1gb)")
    if not (swaps and not mlock) and "[always]" not in huge and shared >= LEAST_SHM:
        yield Finding("ok", "memory", f"{shared >> 20} MiB of shared memory")


def check_disk(store: Path, cache: Path, root: Path) -> Iterator[Finding]:
    """Where holds, engines and the journal lie: kept over a reboot, with room, and how long it takes to be sure."""
    for subject, folder, least in (("store", store, LEAST_STORE), ("cache", cache, LEAST_CACHE)):
        there = next(place for place in (folder, *folder.parents) if exists(place))
        kind, free = _file_system(there, root), shutil.disk_usage(there).free
        status = os.statvfs(there)
        if status.f_flag & os.ST_RDONLY:
            yield fault(
                subject, f"{there} is mounted read-only", "mount it writable, or give another [daemon] " + subject
            )
            continue
        if subject == "store" and kind in FLEETING:
            fact = f"{there} is {kind}: a hold and the history are forgotten at reboot"
            yield warning(subject, fact, "give [daemon] store a disk, or the container a volume")
        if kind in FOREIGN:
            yield warning(subject, f"{there} is on the network ({kind}): it waits when that does", "use a local disk")
        if free < least:
            yield warning(subject, f"{free / 1e9:.1f} GB are free in {there}", f"make room: {least / 1e9:.0f} GB")
        if status.f_files and status.f_favail < LEAST_FILES:
            yield warning(subject, f"{status.f_favail} files are left in {there}", "remove what is not needed")
        if subject == "store":
            yield _written(there, kind, free)


def _written(folder: Path, kind: str, free: int) -> Finding:
    took_s = []
    try:
        with tempfile.NamedTemporaryFile(dir=folder, prefix=".edged-doctor-") as file:
            for _ in range(WRITES):
                began_s = time.monotonic()
                file.write(b"x" * 512)
                file.flush()
                os.fsync(file.fileno())
                took_s.append(time.monotonic() - began_s)
    except OSError as error:
        return fault(
            "store", f"{folder} cannot be written ({error.strerror})", "check its owner, or run as the daemon's user"
        )
    said = f"{kind or 'a disk'}, {free / 1e9:.0f} GB free, a line is on disk after {max(took_s) * 1000:.1f} ms"
    if max(took_s) > SLOW_SYNC_S:
        return warning("store", f"{said}: a hold is answered only then", "use an SSD; do not log to the same disk")
    return Finding("ok", "store", said)


def _file_system(place: Path, root: Path) -> str:
    """The kind of the mount that `place` is on; the longest mount point wins, the last of two alike."""
    best, kind = -1, ""
    real = os.path.realpath(place)
    for line in text_of(root / "proc/self/mounts").splitlines():
        words = line.split()
        if len(words) > 2 and (real + "/").startswith(words[1].rstrip("/") + "/") and len(words[1]) >= best:
            best, kind = len(words[1]), words[2]
    return kind


def check_gpu(backend: str, chosen: int | str | None, root: Path) -> Iterator[Finding]:
    """The GPU, its driver and how it is doing; an error only where [engine] backend or device insists on one."""
    if backend in PLUG_INS:
        yield from check_plug_in(PLUG_INS[backend], root)
        if backend != "tensorrt-rtx":
            return
    wrong = fault if backend in ("cuda", "tensorrt", "tensorrt-rtx") or chosen is not None else warning
    if chosen is not None and (overruled := choose_gpu(chosen, root=root)):
        yield warning("gpu", overruled, "unset one of the two")
    try:
        device = read_device(root=root)
    except EdgedError as error:
        yield wrong("gpu", error.fact, error.remedy)
        return
    if device is None:
        closed = [path for path in (root / "dev").glob("nvidia[0-9]*") if not os.access(path, os.R_OK | os.W_OK)]
        if closed:
            yield wrong("gpu", f"{closed[0]} may not be opened", "join its group: video, or render")
        elif wrong is fault:
            asked = f"backend is {backend}" if chosen is None else f"device is {chosen}"
            yield fault("gpu", f"[engine] {asked}, and there is no NVIDIA driver or GPU", "install the driver")
        else:
            yield Finding("ok", "gpu", "none: engines run on the CPU")
        return
    where = f" at {device.pci}" if device.pci else ""
    facts = f"{device.capability}, {device.memory_mib} MiB, driver {device.driver}"
    yield Finding("ok", "gpu", f"{device.name}{where}, {facts}")
    state = read_gpu(root, device.pci)
    if throttled := state.get("throttled"):
        yield warning("gpu", f"clocks are held down: {', '.join(throttled)}", "look at power and cooling")
    if state.get("persistence") is False:
        yield warning("gpu", "persistence mode is off: the first run after a pause waits for the driver",
                      "nvidia-smi -pm 1, or the service nvidia-persistenced")  # fmt: skip
    if missing := state.get("missing"):
        yield untried("gpu", f"clocks and heat: {missing}")
    yield from check_mps(state.get("processes", 0), root)


def check_plug_in(plug_in: PlugIn, root: Path) -> Iterator[Finding]:
    """Whether the plug-in is there that `[engine] backend` names, and whether its GPUs may be opened."""
    if not (version := _version(plug_in.package)):
        yield fault(
            "gpu", f"[engine] backend is {plug_in.backend}, and {plug_in.package} is not installed", plug_in.install
        )
        return
    nodes = sorted((root / "dev/dri").glob("renderD*"))
    yield Finding("ok", "gpu", f"{plug_in.package} {version}; 'edged check FILE' tries the engine on it")
    for node in nodes:
        if not os.access(node, os.R_OK | os.W_OK):
            yield warning("gpu", f"{node} may not be opened", "join its group: render, or video")
    if plug_in.backend == "webgpu" and not nodes:
        yield warning("gpu", "there is no GPU in /dev/dri", "install its driver; in a container, pass /dev/dri on")


def check_mps(processes: int, root: Path, environ: Mapping[str, str] = os.environ) -> Iterator[Finding]:
    """Whether NVIDIA's Multi-Process Service runs where it is asked for, or where `processes` share the GPU."""
    place = environ.get(MPS_PLACE) or ("/run/edged-mps" if (root / "run/edged-mps").is_dir() else "")
    runs = any(text_of(path).startswith(MPS_NAME) for path in root.glob("proc/[0-9]*/comm"))
    if runs:
        yield Finding("ok", "mps", f"NVIDIA's MPS runs{f', for those who find it in {place}' if place else ''}")
    elif place:
        fact = f"NVIDIA's MPS does not run, and {place} is there for it: CUDA goes on without, in silence"
        yield warning("mps", fact, "systemctl start edged-mps, then the daemons again")
    elif processes > 1:
        fact = f"{processes} processes compute on the GPU, which serves one after the other in slices of milliseconds"
        yield warning("mps", fact, "share it by NVIDIA's MPS: systemd/edged-mps.service and mps.conf")


def check_versions(root: Path) -> Iterator[Finding]:
    """Ours and those of what we stand on; the pairs that exclude each other."""
    found = {name: text for name in PACKAGES if (text := _version(name))}
    if {"onnxruntime", "onnxruntime-gpu"} <= found.keys():
        fact = "onnxruntime and onnxruntime-gpu are both installed and overwrite each other"
        yield fault("versions", fact, "pip uninstall both, then install edged[cpu] or edged[gpu]")
    if sum(bool(_version(name)) for name in ("opencv-python-headless", "opencv-python", "opencv-contrib-python")) > 1:
        yield warning("versions", "several OpenCV packages overwrite each other", "keep opencv-python-headless alone")
    system = next((line.partition("=")[2].strip('"') for line in text_of(root / "etc/os-release").splitlines()
                   if line.startswith("PRETTY_NAME=")), platform.system())  # fmt: skip
    stack = ", ".join(f"{name} {text}" for name, text in found.items())
    yield Finding("ok", "versions", f"edged {__version__}, Python {platform.python_version()}, {system}; {stack}")


def _version(name: str) -> str:
    try:
        return version(name)
    except (PackageNotFoundError, OSError):  # not installed, or nowhere that we may look
        return ""
