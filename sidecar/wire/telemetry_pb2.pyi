from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class Propagator(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    PROPAGATOR_UNSPECIFIED: _ClassVar[Propagator]
    PROPAGATOR_TRACECONTEXT: _ClassVar[Propagator]
    PROPAGATOR_B3: _ClassVar[Propagator]
    PROPAGATOR_B3MULTI: _ClassVar[Propagator]
    PROPAGATOR_JAEGER: _ClassVar[Propagator]
    PROPAGATOR_NONE: _ClassVar[Propagator]
PROPAGATOR_UNSPECIFIED: Propagator
PROPAGATOR_TRACECONTEXT: Propagator
PROPAGATOR_B3: Propagator
PROPAGATOR_B3MULTI: Propagator
PROPAGATOR_JAEGER: Propagator
PROPAGATOR_NONE: Propagator

class Telemetry(_message.Message):
    __slots__ = ("tracing", "access_log")
    TRACING_FIELD_NUMBER: _ClassVar[int]
    ACCESS_LOG_FIELD_NUMBER: _ClassVar[int]
    tracing: Tracing
    access_log: AccessLog
    def __init__(self, tracing: _Optional[_Union[Tracing, _Mapping]] = ..., access_log: _Optional[_Union[AccessLog, _Mapping]] = ...) -> None: ...

class Tracing(_message.Message):
    __slots__ = ("enabled", "ratio", "resource", "ignores_parent", "propagators", "mesh")
    class ResourceEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    ENABLED_FIELD_NUMBER: _ClassVar[int]
    RATIO_FIELD_NUMBER: _ClassVar[int]
    RESOURCE_FIELD_NUMBER: _ClassVar[int]
    IGNORES_PARENT_FIELD_NUMBER: _ClassVar[int]
    PROPAGATORS_FIELD_NUMBER: _ClassVar[int]
    MESH_FIELD_NUMBER: _ClassVar[int]
    enabled: bool
    ratio: float
    resource: _containers.ScalarMap[str, str]
    ignores_parent: bool
    propagators: _containers.RepeatedScalarFieldContainer[Propagator]
    mesh: MeshTrace
    def __init__(self, enabled: _Optional[bool] = ..., ratio: _Optional[float] = ..., resource: _Optional[_Mapping[str, str]] = ..., ignores_parent: _Optional[bool] = ..., propagators: _Optional[_Iterable[_Union[Propagator, str]]] = ..., mesh: _Optional[_Union[MeshTrace, _Mapping]] = ...) -> None: ...

class MeshTrace(_message.Message):
    __slots__ = ("trace_id", "config_span_id", "drain_span_id")
    TRACE_ID_FIELD_NUMBER: _ClassVar[int]
    CONFIG_SPAN_ID_FIELD_NUMBER: _ClassVar[int]
    DRAIN_SPAN_ID_FIELD_NUMBER: _ClassVar[int]
    trace_id: bytes
    config_span_id: int
    drain_span_id: int
    def __init__(self, trace_id: _Optional[bytes] = ..., config_span_id: _Optional[int] = ..., drain_span_id: _Optional[int] = ...) -> None: ...

class AccessLog(_message.Message):
    __slots__ = ("enabled", "pattern", "sample", "min_status", "slower_than_ms", "redact")
    ENABLED_FIELD_NUMBER: _ClassVar[int]
    PATTERN_FIELD_NUMBER: _ClassVar[int]
    SAMPLE_FIELD_NUMBER: _ClassVar[int]
    MIN_STATUS_FIELD_NUMBER: _ClassVar[int]
    SLOWER_THAN_MS_FIELD_NUMBER: _ClassVar[int]
    REDACT_FIELD_NUMBER: _ClassVar[int]
    enabled: bool
    pattern: str
    sample: int
    min_status: int
    slower_than_ms: int
    redact: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, enabled: _Optional[bool] = ..., pattern: _Optional[str] = ..., sample: _Optional[int] = ..., min_status: _Optional[int] = ..., slower_than_ms: _Optional[int] = ..., redact: _Optional[_Iterable[str]] = ...) -> None: ...
