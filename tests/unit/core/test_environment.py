"""What holds in every process of edged before anything else happens in it."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from edged.core.environment import for_children, silence_telemetry


@pytest.mark.parametrize("module", ["edged", "edged.client", "edged.pack", "edged.engine.ort_cpu", "edged.swap.trial"])
def test_whatever_is_imported_first_the_vendor_is_not_told(module: str) -> None:
    """Told by what the C library sees, which is where ONNX Runtime looks; an environment that says otherwise loses."""
    code = f"import {module}, ctypes; get = ctypes.CDLL(None).getenv; get.restype = ctypes.c_char_p\n"
    code += "print(get(b'ORT_DISABLE_TELEMETRY').decode())"
    environ = {**os.environ, "ORT_DISABLE_TELEMETRY": "0"}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environ)
    assert done.stdout == "1\n"


def test_only_that_is_changed() -> None:
    environ = {"HOME": "/root"}
    silence_telemetry(environ)
    assert environ == {"HOME": "/root", "ORT_DISABLE_TELEMETRY": "1"}


FILLED = """
import os, sys
for number in {closed}: os.close(number)
from edged.core.environment import fill_descriptors
fill_descriptors()
file = os.open(sys.argv[1], os.O_RDWR | os.O_CREAT)
told = [os.readlink(f"/proc/self/fd/{{number}}") for number in (0, 1, 2)]
os.write(file, repr((file, told, [os.get_inheritable(n) for n in (0, 1, 2)])).encode())
os.write(1, b"stray"); os.write(2, b"stray")
print("printed"); print("printed", file=sys.stderr); sys.stderr.flush()
"""


@pytest.mark.parametrize("closed", [(), (0,), (1,), (2,), (0, 2), (1, 2), (0, 1, 2)])
def test_a_descriptor_that_is_closed_is_no_files_afterwards(
    tmp_path: os.PathLike[str], closed: tuple[int, ...]
) -> None:
    path = os.path.join(tmp_path, "file")  # noqa: PTH118
    code = FILLED.format(closed=closed)
    done = subprocess.run(
        [sys.executable, "-c", code, path], capture_output=True, stdin=subprocess.DEVNULL, check=False
    )
    assert done.returncode == 0, done.stderr
    with open(path, encoding="ascii") as file:  # noqa: PTH123
        number, told, inheritable = eval(file.read())
    assert number > 2
    assert inheritable == [True] * 3
    assert all(told[number] == os.devnull for number in closed)
    assert (b"stray" in done.stdout) == (1 not in closed)


def test_children_load_what_they_use_and_know_no_secret() -> None:
    """A camera's reader is one of them, and as live as the daemon: nothing puts it behind others."""
    given = {"CUDA_MODULE_LOADING": "EAGER", "EDGED_X": "secret", "A": "b"}
    assert for_children(given) == {"CUDA_MODULE_LOADING": "LAZY", "A": "b"}
