"""What a sealed graph needs lies inside it: weights elsewhere, foreign operators and compiled programs are refused."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from bundles import a_manifest, golden, write
from hypothesis import given, settings
from hypothesis import strategies as st
from models import policy_model
from onnx import TensorProto, helper, numpy_helper

from edged.bundle import closed
from edged.bundle.bundle import MODEL, SUMS, read_bundle, seal, write_bundle
from edged.bundle.closed import DOMAINS, FIELDS, check_closed
from edged.bundle.store import Store
from edged.cli.verify import verify
from edged.core.errors import RefusedError


def outside(location: str = "weights.bin") -> TensorProto:
    tensor = numpy_helper.from_array(np.ones((2, 2), np.float32), "w")
    onnx.external_data_helper.set_external_data(tensor, location, 0, 16)
    tensor.ClearField("raw_data")
    return tensor


def sparse(tensor: TensorProto) -> onnx.SparseTensorProto:
    return onnx.SparseTensorProto(values=tensor, indices=numpy_helper.from_array(np.zeros(1, np.int64)), dims=[4])


def within(**body: object) -> onnx.NodeProto:
    """An If whose body has what is given."""
    graph = onnx.GraphProto(name="body", **body)
    return helper.make_node("If", ["c"], ["y"], then_branch=graph, else_branch=onnx.GraphProto(name="else"))


PLACES: dict[str, Callable[[TensorProto], onnx.ModelProto]] = {
    "initializer": lambda t: onnx.ModelProto(graph=onnx.GraphProto(initializer=[t])),
    "sparse initializer": lambda t: onnx.ModelProto(graph=onnx.GraphProto(sparse_initializer=[sparse(t)])),
    "attribute": lambda t: onnx.ModelProto(
        graph=onnx.GraphProto(node=[helper.make_node("Constant", [], ["c"], value=t)])
    ),
    "attribute of several": lambda t: onnx.ModelProto(
        graph=onnx.GraphProto(node=[helper.make_node("Constant", [], ["c"], values=[t, t])])
    ),
    "sparse attribute": lambda t: onnx.ModelProto(
        graph=onnx.GraphProto(node=[helper.make_node("Constant", [], ["c"], sparse_value=sparse(t))])
    ),
    "body": lambda t: onnx.ModelProto(graph=onnx.GraphProto(node=[within(initializer=[t])])),
    "body in a body": lambda t: onnx.ModelProto(graph=onnx.GraphProto(node=[within(node=[within(initializer=[t])])])),
    "function": lambda t: onnx.ModelProto(
        functions=[onnx.FunctionProto(name="f", node=[helper.make_node("Constant", [], ["c"], value=t)])]
    ),
    "default of a function": lambda t: onnx.ModelProto(
        functions=[onnx.FunctionProto(name="f", attribute_proto=[helper.make_attribute("a", t)])]
    ),
    "training": lambda t: onnx.ModelProto(
        training_info=[onnx.TrainingInfoProto(algorithm=onnx.GraphProto(initializer=[t]))]
    ),
}


def refusal(model: bytes) -> str:
    with pytest.raises(RefusedError) as caught:
        check_closed(model, "x/1/model.onnx")
    assert caught.value.remedy
    return caught.value.fact


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("location", ["weights.bin", "../../other/weights.bin", "*/_ORT_MEM_ADDR_/*"])
def test_weights_elsewhere_are_refused_wherever_they_are_named(place: str, location: str):
    inside = PLACES[place](numpy_helper.from_array(np.ones(3, np.float32), "w"))
    check_closed(inside.SerializeToString(), "x")
    assert "outside the engine" in refusal(PLACES[place](outside(location)).SerializeToString())


def test_a_location_is_an_enum_of_32_bits_and_any_of_several_counts():
    """Readers of protobuf cut a number to 32 bits, take the last of two, and merge two graphs into one."""
    external = b"\x70" + b"\x81\x80\x80\x80\x10"  # data_location = 1 + 2**32
    assert TensorProto.FromString(external).data_location == TensorProto.EXTERNAL
    model = onnx.ModelProto(graph=onnx.GraphProto(name="g")).SerializeToString()
    for tensor in (external, b"\x70\x01\x70\x00", b"\x6a\x00"):
        graph = b"\x2a" + bytes([len(tensor)]) + tensor
        assert "outside the engine" in refusal(model + b"\x3a" + bytes([len(graph)]) + graph + model)


@pytest.mark.parametrize("domain", sorted({*DOMAINS, "mine"}))
def test_operators_of_known_domains_and_of_the_models_own_functions_pass(domain: str):
    node = helper.make_node("Twice", ["x"], ["y"], domain=domain)
    own = onnx.FunctionProto(name="Twice", domain="mine", node=[helper.make_node("Add", ["x", "x"], ["y"])])
    check_closed(onnx.ModelProto(graph=onnx.GraphProto(node=[node]), functions=[own]).SerializeToString(), "x")


@pytest.mark.parametrize(
    ("node", "fact"),
    [
        (helper.make_node("Evil", ["x"], ["y"], domain="vendor.ops"), "'Evil' of 'vendor.ops'"),
        (within(node=[helper.make_node("NMS", ["x"], ["y"], domain="TRT")]), "'NMS' of 'TRT'"),
        (helper.make_node("EPContext", [], ["y"], domain="com.microsoft"), "EPContext is a compiled program"),
    ],
)
def test_operators_of_libraries_and_compiled_programs_are_refused(node: onnx.NodeProto, fact: str):
    assert fact in refusal(onnx.ModelProto(graph=onnx.GraphProto(node=[node])).SerializeToString())


def test_what_is_no_onnx_graph_is_refused_in_a_sentence():
    assert "own format" in refusal(b"\x20\0\0\0ORTM" + bytes(64))
    for junk in (b"\x0b", b"\x07", b"\x3a\xff", b"\x08" + b"\xff" * 11, b"\xff\xff\xff\xff\xff\xff\x01"):
        assert "is not an ONNX graph" in refusal(junk)
    assert "field 99" in refusal(b"\x9a\x06\x00")


def test_depth_and_number_are_bounded(monkeypatch: pytest.MonkeyPatch):
    message = b""
    for number in range(3000):  # a body in an attribute of a node of a body
        tag = (b"\x32", b"\x2a", b"\x0a")[number % 3]
        size = len(message)
        message = tag + bytes([size & 127 | 128, size >> 7 & 127 | 128, size >> 14]) + message
    size = len(message)
    graph = b"\x3a" + bytes([size & 127 | 128, size >> 7 & 127 | 128, size >> 14]) + message
    assert "nested deeper" in refusal(graph)
    monkeypatch.setattr(closed, "MAX_FIELDS", 1000)
    assert "more than 1000 fields" in refusal(b"\x08\x08" * 2000)


def test_the_table_has_every_field_of_onnx_that_leads_to_a_tensor_or_a_node():
    messages = onnx.ModelProto.DESCRIPTOR.file.message_types_by_name
    for message, fields in FIELDS.items():
        for field in messages[message].fields:
            leads = field.message_type.name if field.message_type and field.message_type.name in FIELDS else ""
            assert fields.get(field.number) == leads, f"{message}.{field.name} = {field.number}"


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=200), st.integers(0, 400), st.integers(0, 255))
def test_whatever_the_bytes_they_are_judged_and_nothing_else_happens(junk: bytes, at: int, byte: int):
    good = bytearray(policy_model())
    good[at % len(good)] = byte
    for model in (junk, bytes(good)):
        with contextlib.suppress(RefusedError):
            check_closed(model, "x")


def test_an_engine_that_was_sealed_with_weights_elsewhere_is_read_by_nobody(tmp_path: Path):
    """Also not with digests that are right: they never covered the weights."""
    model = onnx.load_from_string(policy_model())
    for tensor in model.graph.initializer:
        onnx.external_data_helper.set_external_data(tensor, "weights.bin", 0, len(tensor.raw_data))
        tensor.ClearField("raw_data")
    (tmp_path / "weights.bin").write_bytes(bytes(1 << 16))
    with pytest.raises(RefusedError, match="outside the engine"):
        write_bundle(tmp_path / "store", a_manifest(), model.SerializeToString(), golden())
    path = write(tmp_path / "store")
    (path / MODEL).write_bytes(model.SerializeToString())
    (path / SUMS).write_bytes(seal({item.name: item.read_bytes() for item in path.iterdir()}))
    with pytest.raises(RefusedError, match="outside the engine"):
        read_bundle(path)
    found = verify(str(path), Store(tmp_path / "store"))
    assert found.exit_code == 3
    assert "outside the engine" in found.rows[-1].detail
