"""The entry point of `edged` and `python -m edged`, also where the extra that a command needs is missing."""

from __future__ import annotations

import sys

from edged.core.environment import fill_descriptors
from edged.core.errors import EXIT_FAILED

INTERRUPTED = 130  # as a shell says it of SIGINT
EXTRAS = {
    "typer": "cpu",
    "pydantic": "cpu",
    "pydantic_settings": "cpu",
    "tomli": "cpu",
    "onnxruntime": "cpu",
    "cv2": "cpu",
    "watchfiles": "cpu",
    "onnx": "pack",
    "cryptography": "sign",
    "prometheus_client": "metrics",
    "paho": "mqtt",
    "asyncua": "opcua",
    "oras": "pull",
    "requests": "pull",
    "urllib3": "pull",
    "starlette": "ui",
    "uvicorn": "ui",
    "mcap": "record",
    "foxglove_schemas_protobuf": "record",
    "mujoco": "demo",
    "matplotlib": "demo",
}
"""Package to the extra that brings it; `gpu` and `jetson` bring what `cpu` does, for other machines."""


def main() -> None:
    """The command line; where a package is missing, which extra brings it."""
    fill_descriptors()
    try:
        from edged.cli.main import main as command_line

        command_line()
    except KeyboardInterrupt:  # also while the packages are imported
        sys.exit(INTERRUPTED)
    except ModuleNotFoundError as error:
        package = (error.name or "").partition(".")[0]
        if package not in EXTRAS:
            raise
        extra = EXTRAS[package]
        others = " (or gpu, or jetson)" if extra == "cpu" else ""
        sys.stderr.write(f"edged: {package} is not installed; pip install 'edged[{extra}]'{others} brings it\n")
        sys.exit(EXIT_FAILED)


if __name__ == "__main__":
    main()
