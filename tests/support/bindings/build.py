"""What TensorRT says of models: `build.py FILE...` prints a JSON object of file to "" (a plan was made) or why not.

One process makes all of them: TensorRT keeps the first logger it gets. Given no file, the operators that it knows of
those of ONNX's standard set.
"""

from __future__ import annotations

import json
import sys
import threading
from pathlib import Path

import onnx
import tensorrt

from edged.core.errors import EdgedError
from edged.engine.plan_build.network import serialise
from edged.engine.plan_build.progress import Log
from edged.engine.plan_cache import BuildOptions

LOG = Log(lambda severity, text: None)


def built(model: bytes) -> str:
    del LOG.errors[:]
    try:
        serialise(model, {}, BuildOptions(optimization_level=0), b"", LOG, lambda now: None, threading.Event())
    except EdgedError as error:
        return str(error)
    return ""


def known() -> list[str]:
    builder = tensorrt.Builder(LOG)
    network = builder.create_network(1 << int(tensorrt.NetworkDefinitionCreationFlag.STRONGLY_TYPED))
    parser = tensorrt.OnnxParser(network, LOG)
    names = {schema.name for schema in onnx.defs.get_all_schemas() if schema.domain == ""}
    return sorted(name for name in names if parser.supports_operator(name))


if __name__ == "__main__":
    files = sys.argv[1:]
    print(json.dumps({file: built(Path(file).read_bytes()) for file in files} if files else known()))
