"""What a recorder shows is what the JSON schemas of npm's @foxglove/schemas describe: another library's word for it."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import jsonschema
import numpy as np
import pytest
from foxglove_schemas_protobuf.CompressedImage_pb2 import CompressedImage
from foxglove_schemas_protobuf.ImageAnnotations_pb2 import ImageAnnotations
from foxglove_schemas_protobuf.JointStates_pb2 import JointStates
from foxglove_schemas_protobuf.Log_pb2 import Log
from foxglove_schemas_protobuf.RawImage_pb2 import RawImage
from google.protobuf.json_format import MessageToDict
from wheels import npm_package

from edged.core.types import Reason
from edged.services.record.file import read
from edged.services.record.recorder import RecordConfig, Recorder
from edged.services.record.ring import Heard
from edged.wire import Flag, Kind, Preamble, decode, encode

VERSION = "2.1.0"
S = 1_000_000_000
PROTOS = {
    f"foxglove.{proto.DESCRIPTOR.name}": proto  # type: ignore[attr-defined]
    for proto in (RawImage, CompressedImage, ImageAnnotations, JointStates, Log)
}
SHOWN = {*PROTOS}


@pytest.fixture(scope="module")
def schemas() -> dict[str, Any]:
    """By the name that a recording gives them."""
    package = npm_package("@foxglove/schemas", VERSION)
    if (node := shutil.which("node")) is None:
        pytest.skip("needs node")
    script = f"process.stdout.write(JSON.stringify(require({json.dumps(str(package / 'dist/jsonschema/index.js'))})))"
    told = subprocess.run([node, "-e", script], capture_output=True, text=True, timeout=60, check=True).stdout
    return {schema["title"]: schema for schema in json.loads(told).values() if "title" in schema}


def message(stream: str, kind: Kind, seq: int, number: int = 0, arrays: Any = (), **header: object) -> Heard:
    flags = Flag.STOP if number >= 16 else Flag(0)
    at_ns = 100 * S + seq * S // 10
    made = Preamble(kind, number, flags, 7, seq, at_ns, at_ns, 0, bytes(8), bytes(8))
    return Heard(stream, decode(encode(f"line/{stream}", made, header, arrays)), at_ns)


def record(folder: Path) -> Path:
    """A second of everything that is shown, and a stop."""
    recorder = Recorder("line", RecordConfig(before_s=4, after_s=2), folder, lambda at_ns: 1_700_000_000 * S + at_ns)
    picture = np.full((48, 64, 3), 90, np.uint8)
    box, score, zero = np.float32([[4, 5, 30, 20]]), np.float32([0.9]), np.zeros(1, np.uint16)
    objects = (("xyxy", box), ("score", score), ("class_id", zero), ("offset", np.zeros((1, 2), np.int32)),
               ("shape", np.zeros((1, 2), np.int32)), ("mask", np.zeros(0, np.uint8)))  # fmt: skip
    names, actions = ["j1", "j2"], (("action", np.ones((1, 2), np.float32)),)
    recorder.hear(message("trace", Kind.TRACE, 1, trace="tick", tick=1, looks=[], inference={"frames": {"tool": 1}}))
    for seq in range(1, 11):
        recorder.hear(message("frames-tool", Kind.FRAME, seq, arrays=(("image", picture),), camera="tool", frame=seq))
        recorder.hear(message("action", Kind.ACTION, seq, arrays=actions, t0_ns=1, step_ns=1, names=names))
        labels = (("labels", np.zeros((8, 8), np.uint8)),)
        recorder.hear(message("masks", Kind.LABELS, 2 * seq, arrays=labels, classes=["good"], camera="tool"))
        recorder.hear(message("masks", Kind.INSTANCES, 2 * seq + 1, arrays=objects, classes=["bolt"], camera="tool"))
        recorder.hear(message("results", Kind.RESULT, seq, result="PASS", camera="tool"))
        recorder.hear(message("events", Kind.EVENT, seq, event="swap", state="live"))
    recorder.hear(message("action", Kind.HOLD, 11, int(Reason.OPERATOR), reason="OPERATOR", detail="held by ann"))
    recorder.close(110 * S)
    return recorder.written[0]


def as_json(proto: Any) -> dict[str, Any]:
    """A message as JSON, times as the schemas have them."""
    told: dict[str, Any] = MessageToDict(
        proto, preserving_proto_field_name=True, use_integers_for_enums=True, always_print_fields_with_no_presence=True
    )
    _put_times(proto, told)
    return told


def _put_times(proto: Any, told: Any) -> None:
    for field, value in proto.ListFields():
        if field.message_type is None:
            continue
        if field.message_type.full_name == "google.protobuf.Timestamp":
            told[field.name] = {"sec": value.seconds, "nsec": value.nanos}
        elif isinstance(told[field.name], list):
            for one, of in zip(value, told[field.name], strict=True):
                _put_times(one, of)
        else:
            _put_times(value, told[field.name])


def test_everything_shown_keeps_the_published_json_schema(tmp_path: Path, schemas: dict[str, Any]) -> None:
    seen = set()
    for entry in read(record(tmp_path)):
        if entry.schema in PROTOS:
            told = as_json(PROTOS[entry.schema].FromString(entry.data))
            jsonschema.validate(told, schemas[entry.schema], jsonschema.Draft202012Validator)
            assert set(told) <= set(schemas[entry.schema]["properties"]), entry.schema
            seen.add(entry.schema)
    assert seen == SHOWN


def test_the_schemas_are_no_mere_words(schemas: dict[str, Any]) -> None:
    told = as_json(RawImage(width=3))
    told["width"] = -3
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(told, schemas["foxglove.RawImage"])
