"""Make the folder that runs on a bare GPU machine: python -m benchmarks.gpu.prepare FOLDER [--python 3.12] [--arch 90]

Nothing is downloaded there. The folder has wheels for that machine's Python, this benchmark, the engines that it runs,
and `run.sh`. `--arch 90` leaves ONNX Runtime's CUDA code for that compute capability alone (NVIDIA's H100 is 90, an
L4 89, an A100 80), which halves the wheel. `--there NAME`: the machine has that package already, it is left out.

Where torch and torchvision are installed here, two networks of the size that people run are exported and packed too.
pycuda comes as source: its wheel is built here with the Python of that version (`--interpreter`) and a C++ compiler.
The CUDA libraries come with the machine's torch, or with `--cuda` as wheels, which are 2 GB.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Sequence
from pathlib import Path

from benchmarks.gpu.thin import thin
from edged.core.errors import EdgedError, EngineError

ROOT = Path(__file__).parents[2]
NEEDS = ("opencv-python-headless", "pydantic-settings", "onnx", "onnxruntime-gpu", "cuda-bindings", "nvidia-ml-py")
PYCUDA = "pycuda"
PYCUDA_NEEDS = ("pytools", "platformdirs", "mako", "siphash24", "typing_extensions")
HEADERS = ("nvidia-cuda-runtime==13.0.96", "nvidia-cuda-profiler-api==13.0.85")
CUDA = (
    "nvidia-cudnn-cu13",
    "nvidia-cublas",
    "nvidia-cufft",
    "nvidia-curand",
    "nvidia-cuda-runtime",
    "nvidia-nvjitlink",
)
PLATFORMS = ("manylinux_2_28_x86_64", "manylinux_2_27_x86_64", "manylinux_2_17_x86_64", "manylinux2014_x86_64")
PROVIDER = "libonnxruntime_providers_cuda.so"
IGNORED = shutil.ignore_patterns("__pycache__", "results")


def prepare(folder: Path, python: str, arch: int, there: Sequence[str], interpreter: str, cuda: bool) -> list[str]:
    """Fill `folder`, which is new or empty; what is missing from it and why. `EngineError` where pip fails."""
    if folder.exists() and any(folder.iterdir()):
        raise EngineError(f"{folder} is not empty", "name a new folder, or empty it")
    copy_code(folder, python)
    wheels = folder / "wheels"
    pip("wheel", "--no-deps", "-w", str(wheels), str(ROOT))
    download(wheels, [*(str(path) for path in wheels.glob("edged-*.whl")), *NEEDS, *(CUDA if cuda else ())], python)
    missing = build_pycuda(wheels, python, interpreter)
    for name in there:
        for path in wheels.glob(f"{name.replace('-', '_')}-*.whl"):
            path.unlink()
    if arch:
        for path in wheels.glob("onnxruntime_gpu-*.whl"):
            print(f"{path.name}: {thin_wheel(path, arch) >> 20} MiB of code for other GPUs taken out")
    return [*missing, *pack_networks(folder / "engines")]


def copy_code(folder: Path, python: str) -> None:
    """The benchmark itself and what begins it."""
    shutil.copytree(ROOT / "benchmarks" / "gpu", folder / "benchmarks" / "gpu", ignore=IGNORED)
    shutil.move(folder / "benchmarks" / "gpu" / "run.sh", folder / "run.sh")
    (folder / "python-version").write_text(f"{python}\n", encoding="ascii")


def download(wheels: Path, wanted: Sequence[str], python: str) -> None:
    """Wheels of these and of what they need, for a Python of that version on a PC."""
    platforms = [word for platform in PLATFORMS for word in ("--platform", platform)]
    given = ["--only-binary=:all:", "--python-version", python, "--implementation", "cp", *platforms]
    pip("download", *given, "-d", str(wheels), *wanted)


def build_pycuda(wheels: Path, python: str, interpreter: str) -> list[str]:
    """pycuda's wheel, linked to a libcuda without functions, for which the driver's is there; or why there is none."""
    why = (
        f"pycuda: no wheel, without which nothing runs on the GPU, unless it is installed there: {{}} (Python {python})"
    )
    found = shutil.which(interpreter)
    if found is None:
        return [why.format(f"there is no {interpreter} here")]
    with tempfile.TemporaryDirectory(prefix="edged-pycuda-") as scratch:
        place = Path(scratch)
        pip("install", "--no-deps", "--target", str(place / "headers"), *HEADERS)
        pip("install", "--target", str(place / "build"), "setuptools", "wheel", "numpy", python=found)
        include = next((place / "headers").rglob("cuda.h")).parent
        (place / "lib").mkdir()
        library = place / "lib" / "libcuda.so.1"
        shared = ["cc", "-shared", "-Wl,-soname,libcuda.so.1", "-x", "c", os.devnull, "-o", str(library)]
        try:
            subprocess.run(shared, check=True, capture_output=True)
            (place / "lib" / "libcuda.so").symlink_to(library.name)
            (place / ".aksetup-defaults.py").write_text(
                f"CUDA_ROOT = {str(place / 'headers')!r}\nCUDA_INC_DIR = [{str(include)!r}]\n"
                f"CUDA_ENABLE_CURAND = False\nCUDADRV_LIB_DIR = [{str(place / 'lib')!r}]\n",
                encoding="utf-8",
            )
            environ = {"HOME": scratch, "PYTHONPATH": str(place / "build"), "CFLAGS": "-w", "CXXFLAGS": "-w"}
            given = ["--no-deps", "--no-build-isolation", "--no-binary", PYCUDA, "-w", str(wheels), PYCUDA]
            pip("wheel", *given, python=found, **environ)
        except (OSError, subprocess.CalledProcessError, EngineError) as error:
            return [why.format(str(error).splitlines()[-1])]
    download(wheels, PYCUDA_NEEDS, python)
    return []


def thin_wheel(path: Path, arch: int) -> int:
    """Leave one architecture's code in the provider; how many bytes were taken out. pip takes the wheel as before."""
    scratch = path.with_suffix(".thin")
    zeroed = 0
    with zipfile.ZipFile(path) as old, zipfile.ZipFile(scratch, "w", zipfile.ZIP_DEFLATED) as new:
        for item in old.infolist():
            content = bytearray(old.read(item))
            if item.filename.endswith(PROVIDER):
                zeroed += thin(content, arch)
            if item.filename.endswith(".dist-info/RECORD"):  # a line without digest and size is one that is not checked
                lines = bytes(content).decode().splitlines()
                content = bytearray(
                    "\n".join(f"{line.split(',')[0]},," if PROVIDER in line else line for line in lines).encode()
                    + b"\n"
                )
            new.writestr(item, bytes(content), zipfile.ZIP_DEFLATED)
    if not zeroed:
        scratch.unlink()
        raise EngineError(f"{path.name} has no code for compute capability {arch / 10}", "name another --arch, or none")
    scratch.replace(path)
    return zeroed


def pack_networks(engines: Path) -> list[str]:
    """The networks that torch exports here, as engines; those that it cannot, each with its reason beside it."""
    engines.mkdir(parents=True, exist_ok=True)
    missing = []
    for name in ("act", "mask-rcnn"):
        try:
            from benchmarks.gpu.export import export

            export(name, engines)
        except (EdgedError, ImportError) as error:
            (engines / f"{name}.missing").write_text(f"{error}\n", encoding="utf-8")
            missing.append(f"{name}: {error}")
    return missing


def pip(*arguments: str, python: str = sys.executable, **environ: str) -> None:
    """Run it; `EngineError` with its last words."""
    argv = [python, "-m", "pip", arguments[0], "-q", "--disable-pip-version-check", *arguments[1:]]
    done = subprocess.run(argv, capture_output=True, text=True, check=False, env={**os.environ, **environ})
    if done.returncode:
        words = [line for line in done.stderr.splitlines() if line.startswith("ERROR")] or [done.stderr.strip()]
        raise EngineError(f"pip {arguments[0]} failed: {words[0][:300]}", "see what it says of the packages")


def main() -> None:
    parser = argparse.ArgumentParser(prog="benchmarks.gpu.prepare", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--python", default="3.12", help="of the machine with the GPU")
    parser.add_argument("--interpreter", help="of that version, here; default python<version>")
    parser.add_argument("--arch", type=int, default=0, help="compute capability of its GPU times ten")
    parser.add_argument("--there", action="append", default=[], metavar="NAME", help="a package that it has; repeat")
    parser.add_argument("--cuda", action="store_true", help="also wheels of the CUDA libraries")
    given = parser.parse_args()
    interpreter = given.interpreter or f"python{given.python}"
    try:
        missing = prepare(given.folder, given.python, given.arch, given.there, interpreter, given.cuda)
    except EdgedError as error:
        sys.exit(str(error))
    size = sum(path.stat().st_size for path in given.folder.rglob("*") if path.is_file())
    print(f"{given.folder}: {size >> 20} MiB; there: sh {given.folder.name}/run.sh")
    for line in missing:
        print(f"missing: {line}")


if __name__ == "__main__":
    main()
