"""The ONNX parser: it fills the network, or says which node it could not import."""

from __future__ import annotations

import onnx

from ._builder import INetworkDefinition
from ._common import ILogger, _factory, _taken, _whole


class ParserError:
    """Doc: `desc`, `node_name`, `node_operator` are methods."""

    def __init__(self) -> None:
        raise TypeError("No constructor defined!")

    @classmethod
    def _of(cls, desc: str, name: str, operator: str) -> ParserError:
        error = cls.__new__(cls)
        error._said = (desc, name, operator)
        return error

    def desc(self) -> str:
        return self._said[0]

    def node_name(self) -> str:
        return self._said[1]

    def node_operator(self) -> str:
        return self._said[2]


class OnnxParser:
    """Doc: `parse` returns "true if the model was parsed successfully"; it raises nothing for a bad model."""

    def __init__(self, network: INetworkDefinition, logger: ILogger) -> None:
        _factory()
        self._network = _taken(network, INetworkDefinition)
        self._logger = _taken(logger, ILogger)
        self._errors: list[ParserError] = []

    @property
    def num_errors(self) -> int:
        return len(self._errors)

    def get_error(self, index: int) -> ParserError:
        return self._errors[_whole(index)]

    def parse(self, model: bytes, path: str | None = None) -> bool:
        memoryview(model)  # a buffer, not a path
        try:
            proto = onnx.load_from_string(bytes(model))
            assert proto.graph.node
        except Exception:  # protobuf's own
            self._errors.append(ParserError._of("Failed to parse ONNX model", "", ""))
            return self._failed()
        for node in proto.graph.node:
            if node.domain not in ("", "ai.onnx"):
                # onnx-tensorrt, docs/operators.md and errors: an operator nobody imports is UNSUPPORTED_NODE.
                text = f"No importer registered for op: {node.op_type}. Attempting to import as plugin."
                self._errors.append(ParserError._of(text, node.name, node.op_type))
        if self._errors:
            return self._failed()
        self._network._fill(bytes(model), proto)
        return True

    def _failed(self) -> bool:
        for error in self._errors:
            self._logger.log(ILogger.Severity.ERROR, f"ModelImporter: {error.desc()} [{error.node_name()}]")
        return False
