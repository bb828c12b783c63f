"""A `tensorrt` without a GPU: the part of its Python API that edged uses, with plans that run through ONNX Runtime on
host memory. It offers nothing the real bindings of 10.3, 10.16 and 11.4 lack (tests/docs/test_conformance.py).

Comments cite what a behaviour imitates: "doc" = the docstring of that name in the real bindings, "guide" = NVIDIA's
TensorRT developer guide. Names of our own begin with an underscore. The environment makes it do what a real one does
on bad days:

    FAKE_TENSORRT_VERSION   what it says it is; plans of another version are not loaded
    FAKE_TENSORRT_STEP_S    how long each build step takes
    FAKE_TENSORRT_ALLOCATE_MB   resident memory that the build takes
    FAKE_TENSORRT_CRASH     signal number the process gets in the middle of a build
    FAKE_TENSORRT_OFF       what every output is off by: a plan that does not compute what its graph does
    FAKE_TENSORRT_BROKEN    factories return null: the libraries do not fit the bindings, or there is no driver
"""

from __future__ import annotations

from ._builder import Builder, IBuilderConfig, INetworkDefinition, IOptimizationProfile, ITensor, ITimingCache
from ._common import IErrorRecorder, IHostMemory, ILogger, IOutputAllocator, IProgressMonitor, __version__
from ._enums import (
    BuilderFlag,
    DataType,
    ErrorCodeTRT,
    HardwareCompatibilityLevel,
    MemoryPoolType,
    NetworkDefinitionCreationFlag,
    TensorIOMode,
    TensorLocation,
)
from ._parser import OnnxParser, ParserError
from ._runtime import ICudaEngine, IExecutionContext, Runtime

__all__ = [
    "Builder",
    "BuilderFlag",
    "DataType",
    "ErrorCodeTRT",
    "HardwareCompatibilityLevel",
    "IBuilderConfig",
    "ICudaEngine",
    "IErrorRecorder",
    "IExecutionContext",
    "IHostMemory",
    "ILogger",
    "INetworkDefinition",
    "IOptimizationProfile",
    "IOutputAllocator",
    "IProgressMonitor",
    "ITensor",
    "ITimingCache",
    "MemoryPoolType",
    "NetworkDefinitionCreationFlag",
    "OnnxParser",
    "ParserError",
    "Runtime",
    "TensorIOMode",
    "TensorLocation",
    "__version__",
]
