"""The enumerations of the stand-in of TensorRT."""

from __future__ import annotations

import enum


class DataType(enum.Enum):
    FLOAT, HALF, INT8 = 0, 1, 2


class TensorIOMode(enum.Enum):
    NONE, INPUT, OUTPUT = 0, 1, 2


class ExecutionContextAllocationStrategy(enum.Enum):
    STATIC, ON_PROFILE_CHANGE, USER_MANAGED = 0, 1, 2


class NetworkDefinitionCreationFlag(enum.IntEnum):
    EXPLICIT_BATCH, STRONGLY_TYPED = 0, 1


class BuilderFlag(enum.Enum):
    TF32 = 0


class MemoryPoolType(enum.Enum):
    WORKSPACE = 0


class EngineValidity(enum.Enum):
    VALID, SUBOPTIMAL, INVALID = 0, 1, 2


class DynamicShapesKernelSpecializationStrategy(enum.Enum):
    LAZY, EAGER, NONE = 0, 1, 2
