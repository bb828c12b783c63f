"""Enum members by name; their numbers are those of neither version, so that code which stores numbers fails."""

from __future__ import annotations

from enum import IntEnum


class NetworkDefinitionCreationFlag(IntEnum):
    """Doc: an enum whose members are shifted into `create_network`'s flags (`1 << int(flag)`)."""

    STRONGLY_TYPED = 7


class BuilderFlag(IntEnum):
    TF32 = 21
    VERSION_COMPATIBLE = 22
    REFIT = 23
    STRIP_PLAN = 24


class MemoryPoolType(IntEnum):
    WORKSPACE = 31
    TACTIC_SHARED_MEMORY = 32


class HardwareCompatibilityLevel(IntEnum):
    NONE = 41
    AMPERE_PLUS = 42


class TensorIOMode(IntEnum):
    NONE = 51
    INPUT = 52
    OUTPUT = 53


class TensorLocation(IntEnum):
    DEVICE = 56
    HOST = 57


class DataType(IntEnum):
    FLOAT = 61
    HALF = 62
    INT8 = 63
    INT32 = 64
    BOOL = 65
    UINT8 = 66
    INT64 = 67


class ErrorCodeTRT(IntEnum):
    SUCCESS = 71
    UNSPECIFIED_ERROR = 72
    INVALID_ARGUMENT = 73
    FAILED_EXECUTION = 74
