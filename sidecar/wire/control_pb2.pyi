from sidecar.wire import snapshot_pb2 as _snapshot_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class Options(_message.Message):
    __slots__ = ("workers", "span_buffer", "access_log_buffer", "event_buffer", "failure_buffer", "service", "max_descriptors", "memory_limit")
    WORKERS_FIELD_NUMBER: _ClassVar[int]
    SPAN_BUFFER_FIELD_NUMBER: _ClassVar[int]
    ACCESS_LOG_BUFFER_FIELD_NUMBER: _ClassVar[int]
    EVENT_BUFFER_FIELD_NUMBER: _ClassVar[int]
    FAILURE_BUFFER_FIELD_NUMBER: _ClassVar[int]
    SERVICE_FIELD_NUMBER: _ClassVar[int]
    MAX_DESCRIPTORS_FIELD_NUMBER: _ClassVar[int]
    MEMORY_LIMIT_FIELD_NUMBER: _ClassVar[int]
    workers: int
    span_buffer: int
    access_log_buffer: int
    event_buffer: int
    failure_buffer: int
    service: str
    max_descriptors: int
    memory_limit: int
    def __init__(self, workers: _Optional[int] = ..., span_buffer: _Optional[int] = ..., access_log_buffer: _Optional[int] = ..., event_buffer: _Optional[int] = ..., failure_buffer: _Optional[int] = ..., service: _Optional[str] = ..., max_descriptors: _Optional[int] = ..., memory_limit: _Optional[int] = ...) -> None: ...

class EndpointsUpdate(_message.Message):
    __slots__ = ("cluster", "version", "endpoints", "forgotten")
    CLUSTER_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    ENDPOINTS_FIELD_NUMBER: _ClassVar[int]
    FORGOTTEN_FIELD_NUMBER: _ClassVar[int]
    cluster: str
    version: int
    endpoints: _containers.RepeatedCompositeFieldContainer[Endpoint]
    forgotten: bool
    def __init__(self, cluster: _Optional[str] = ..., version: _Optional[int] = ..., endpoints: _Optional[_Iterable[_Union[Endpoint, _Mapping]]] = ..., forgotten: _Optional[bool] = ...) -> None: ...

class Endpoint(_message.Message):
    __slots__ = ("id", "address", "weight", "meta", "healthy", "spiffe_ids", "priority")
    class MetaEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    ID_FIELD_NUMBER: _ClassVar[int]
    ADDRESS_FIELD_NUMBER: _ClassVar[int]
    WEIGHT_FIELD_NUMBER: _ClassVar[int]
    META_FIELD_NUMBER: _ClassVar[int]
    HEALTHY_FIELD_NUMBER: _ClassVar[int]
    SPIFFE_IDS_FIELD_NUMBER: _ClassVar[int]
    PRIORITY_FIELD_NUMBER: _ClassVar[int]
    id: str
    address: str
    weight: int
    meta: _containers.ScalarMap[str, str]
    healthy: bool
    spiffe_ids: _containers.RepeatedScalarFieldContainer[str]
    priority: int
    def __init__(self, id: _Optional[str] = ..., address: _Optional[str] = ..., weight: _Optional[int] = ..., meta: _Optional[_Mapping[str, str]] = ..., healthy: _Optional[bool] = ..., spiffe_ids: _Optional[_Iterable[str]] = ..., priority: _Optional[int] = ...) -> None: ...

class Secrets(_message.Message):
    __slots__ = ("version", "identities", "trust_bundles", "span_id", "credentials", "address_lists")
    VERSION_FIELD_NUMBER: _ClassVar[int]
    IDENTITIES_FIELD_NUMBER: _ClassVar[int]
    TRUST_BUNDLES_FIELD_NUMBER: _ClassVar[int]
    SPAN_ID_FIELD_NUMBER: _ClassVar[int]
    CREDENTIALS_FIELD_NUMBER: _ClassVar[int]
    ADDRESS_LISTS_FIELD_NUMBER: _ClassVar[int]
    version: int
    identities: _containers.RepeatedCompositeFieldContainer[Identity]
    trust_bundles: _containers.RepeatedCompositeFieldContainer[TrustBundle]
    span_id: int
    credentials: bytes
    address_lists: _containers.RepeatedCompositeFieldContainer[AddressList]
    def __init__(self, version: _Optional[int] = ..., identities: _Optional[_Iterable[_Union[Identity, _Mapping]]] = ..., trust_bundles: _Optional[_Iterable[_Union[TrustBundle, _Mapping]]] = ..., span_id: _Optional[int] = ..., credentials: _Optional[bytes] = ..., address_lists: _Optional[_Iterable[_Union[AddressList, _Mapping]]] = ...) -> None: ...

class AddressList(_message.Message):
    __slots__ = ("name", "networks")
    NAME_FIELD_NUMBER: _ClassVar[int]
    NETWORKS_FIELD_NUMBER: _ClassVar[int]
    name: str
    networks: bytes
    def __init__(self, name: _Optional[str] = ..., networks: _Optional[bytes] = ...) -> None: ...

class Credentials(_message.Message):
    __slots__ = ("consumers", "key_sets")
    CONSUMERS_FIELD_NUMBER: _ClassVar[int]
    KEY_SETS_FIELD_NUMBER: _ClassVar[int]
    consumers: _containers.RepeatedCompositeFieldContainer[Consumer]
    key_sets: _containers.RepeatedCompositeFieldContainer[KeySet]
    def __init__(self, consumers: _Optional[_Iterable[_Union[Consumer, _Mapping]]] = ..., key_sets: _Optional[_Iterable[_Union[KeySet, _Mapping]]] = ...) -> None: ...

class Consumer(_message.Message):
    __slots__ = ("name", "groups", "keys", "passwords", "bindings", "rate")
    NAME_FIELD_NUMBER: _ClassVar[int]
    GROUPS_FIELD_NUMBER: _ClassVar[int]
    KEYS_FIELD_NUMBER: _ClassVar[int]
    PASSWORDS_FIELD_NUMBER: _ClassVar[int]
    BINDINGS_FIELD_NUMBER: _ClassVar[int]
    RATE_FIELD_NUMBER: _ClassVar[int]
    name: str
    groups: _containers.RepeatedScalarFieldContainer[str]
    keys: _containers.RepeatedScalarFieldContainer[bytes]
    passwords: _containers.RepeatedCompositeFieldContainer[Password]
    bindings: _containers.RepeatedCompositeFieldContainer[Binding]
    rate: _snapshot_pb2.RateLimit
    def __init__(self, name: _Optional[str] = ..., groups: _Optional[_Iterable[str]] = ..., keys: _Optional[_Iterable[bytes]] = ..., passwords: _Optional[_Iterable[_Union[Password, _Mapping]]] = ..., bindings: _Optional[_Iterable[_Union[Binding, _Mapping]]] = ..., rate: _Optional[_Union[_snapshot_pb2.RateLimit, _Mapping]] = ...) -> None: ...

class Password(_message.Message):
    __slots__ = ("username", "hash")
    USERNAME_FIELD_NUMBER: _ClassVar[int]
    HASH_FIELD_NUMBER: _ClassVar[int]
    username: str
    hash: str
    def __init__(self, username: _Optional[str] = ..., hash: _Optional[str] = ...) -> None: ...

class Binding(_message.Message):
    __slots__ = ("issuer", "claim", "value")
    ISSUER_FIELD_NUMBER: _ClassVar[int]
    CLAIM_FIELD_NUMBER: _ClassVar[int]
    VALUE_FIELD_NUMBER: _ClassVar[int]
    issuer: str
    claim: str
    value: str
    def __init__(self, issuer: _Optional[str] = ..., claim: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...

class KeySet(_message.Message):
    __slots__ = ("name", "keys", "problem")
    NAME_FIELD_NUMBER: _ClassVar[int]
    KEYS_FIELD_NUMBER: _ClassVar[int]
    PROBLEM_FIELD_NUMBER: _ClassVar[int]
    name: str
    keys: _containers.RepeatedCompositeFieldContainer[VerificationKey]
    problem: str
    def __init__(self, name: _Optional[str] = ..., keys: _Optional[_Iterable[_Union[VerificationKey, _Mapping]]] = ..., problem: _Optional[str] = ...) -> None: ...

class VerificationKey(_message.Message):
    __slots__ = ("id", "algorithm", "rsa", "p256", "p384", "ed25519", "secret")
    ID_FIELD_NUMBER: _ClassVar[int]
    ALGORITHM_FIELD_NUMBER: _ClassVar[int]
    RSA_FIELD_NUMBER: _ClassVar[int]
    P256_FIELD_NUMBER: _ClassVar[int]
    P384_FIELD_NUMBER: _ClassVar[int]
    ED25519_FIELD_NUMBER: _ClassVar[int]
    SECRET_FIELD_NUMBER: _ClassVar[int]
    id: str
    algorithm: str
    rsa: RsaKey
    p256: bytes
    p384: bytes
    ed25519: bytes
    secret: bytes
    def __init__(self, id: _Optional[str] = ..., algorithm: _Optional[str] = ..., rsa: _Optional[_Union[RsaKey, _Mapping]] = ..., p256: _Optional[bytes] = ..., p384: _Optional[bytes] = ..., ed25519: _Optional[bytes] = ..., secret: _Optional[bytes] = ...) -> None: ...

class RsaKey(_message.Message):
    __slots__ = ("modulus", "exponent")
    MODULUS_FIELD_NUMBER: _ClassVar[int]
    EXPONENT_FIELD_NUMBER: _ClassVar[int]
    modulus: bytes
    exponent: bytes
    def __init__(self, modulus: _Optional[bytes] = ..., exponent: _Optional[bytes] = ...) -> None: ...

class Identity(_message.Message):
    __slots__ = ("name", "certificate_chain", "private_key")
    NAME_FIELD_NUMBER: _ClassVar[int]
    CERTIFICATE_CHAIN_FIELD_NUMBER: _ClassVar[int]
    PRIVATE_KEY_FIELD_NUMBER: _ClassVar[int]
    name: str
    certificate_chain: _containers.RepeatedScalarFieldContainer[bytes]
    private_key: bytes
    def __init__(self, name: _Optional[str] = ..., certificate_chain: _Optional[_Iterable[bytes]] = ..., private_key: _Optional[bytes] = ...) -> None: ...

class TrustBundle(_message.Message):
    __slots__ = ("name", "roots", "trust_domains")
    NAME_FIELD_NUMBER: _ClassVar[int]
    ROOTS_FIELD_NUMBER: _ClassVar[int]
    TRUST_DOMAINS_FIELD_NUMBER: _ClassVar[int]
    name: str
    roots: _containers.RepeatedScalarFieldContainer[bytes]
    trust_domains: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, name: _Optional[str] = ..., roots: _Optional[_Iterable[bytes]] = ..., trust_domains: _Optional[_Iterable[str]] = ...) -> None: ...

class Events(_message.Message):
    __slots__ = ("events", "dropped")
    EVENTS_FIELD_NUMBER: _ClassVar[int]
    DROPPED_FIELD_NUMBER: _ClassVar[int]
    events: _containers.RepeatedCompositeFieldContainer[Event]
    dropped: int
    def __init__(self, events: _Optional[_Iterable[_Union[Event, _Mapping]]] = ..., dropped: _Optional[int] = ...) -> None: ...

class Event(_message.Message):
    __slots__ = ("unix_nanos", "cluster_wanted", "listener_bound", "drained", "panicked", "ejection", "circuit", "health", "key_wanted", "pressure")
    UNIX_NANOS_FIELD_NUMBER: _ClassVar[int]
    CLUSTER_WANTED_FIELD_NUMBER: _ClassVar[int]
    LISTENER_BOUND_FIELD_NUMBER: _ClassVar[int]
    DRAINED_FIELD_NUMBER: _ClassVar[int]
    PANICKED_FIELD_NUMBER: _ClassVar[int]
    EJECTION_FIELD_NUMBER: _ClassVar[int]
    CIRCUIT_FIELD_NUMBER: _ClassVar[int]
    HEALTH_FIELD_NUMBER: _ClassVar[int]
    KEY_WANTED_FIELD_NUMBER: _ClassVar[int]
    PRESSURE_FIELD_NUMBER: _ClassVar[int]
    unix_nanos: int
    cluster_wanted: ClusterWanted
    listener_bound: ListenerBound
    drained: Drained
    panicked: Panicked
    ejection: Ejection
    circuit: Circuit
    health: Health
    key_wanted: KeyWanted
    pressure: Pressure
    def __init__(self, unix_nanos: _Optional[int] = ..., cluster_wanted: _Optional[_Union[ClusterWanted, _Mapping]] = ..., listener_bound: _Optional[_Union[ListenerBound, _Mapping]] = ..., drained: _Optional[_Union[Drained, _Mapping]] = ..., panicked: _Optional[_Union[Panicked, _Mapping]] = ..., ejection: _Optional[_Union[Ejection, _Mapping]] = ..., circuit: _Optional[_Union[Circuit, _Mapping]] = ..., health: _Optional[_Union[Health, _Mapping]] = ..., key_wanted: _Optional[_Union[KeyWanted, _Mapping]] = ..., pressure: _Optional[_Union[Pressure, _Mapping]] = ...) -> None: ...

class Pressure(_message.Message):
    __slots__ = ("resource", "step")
    RESOURCE_FIELD_NUMBER: _ClassVar[int]
    STEP_FIELD_NUMBER: _ClassVar[int]
    resource: str
    step: str
    def __init__(self, resource: _Optional[str] = ..., step: _Optional[str] = ...) -> None: ...

class ClusterWanted(_message.Message):
    __slots__ = ("cluster",)
    CLUSTER_FIELD_NUMBER: _ClassVar[int]
    cluster: str
    def __init__(self, cluster: _Optional[str] = ...) -> None: ...

class KeyWanted(_message.Message):
    __slots__ = ("key_set",)
    KEY_SET_FIELD_NUMBER: _ClassVar[int]
    key_set: str
    def __init__(self, key_set: _Optional[str] = ...) -> None: ...

class ListenerBound(_message.Message):
    __slots__ = ("name", "address")
    NAME_FIELD_NUMBER: _ClassVar[int]
    ADDRESS_FIELD_NUMBER: _ClassVar[int]
    name: str
    address: str
    def __init__(self, name: _Optional[str] = ..., address: _Optional[str] = ...) -> None: ...

class Drained(_message.Message):
    __slots__ = ("aborted",)
    ABORTED_FIELD_NUMBER: _ClassVar[int]
    aborted: int
    def __init__(self, aborted: _Optional[int] = ...) -> None: ...

class Ejection(_message.Message):
    __slots__ = ("cluster", "endpoint", "address", "cause", "ejected_ms", "span_id")
    CLUSTER_FIELD_NUMBER: _ClassVar[int]
    ENDPOINT_FIELD_NUMBER: _ClassVar[int]
    ADDRESS_FIELD_NUMBER: _ClassVar[int]
    CAUSE_FIELD_NUMBER: _ClassVar[int]
    EJECTED_MS_FIELD_NUMBER: _ClassVar[int]
    SPAN_ID_FIELD_NUMBER: _ClassVar[int]
    cluster: str
    endpoint: str
    address: str
    cause: str
    ejected_ms: int
    span_id: int
    def __init__(self, cluster: _Optional[str] = ..., endpoint: _Optional[str] = ..., address: _Optional[str] = ..., cause: _Optional[str] = ..., ejected_ms: _Optional[int] = ..., span_id: _Optional[int] = ...) -> None: ...

class Circuit(_message.Message):
    __slots__ = ("cluster", "cause", "open_ms", "span_id")
    CLUSTER_FIELD_NUMBER: _ClassVar[int]
    CAUSE_FIELD_NUMBER: _ClassVar[int]
    OPEN_MS_FIELD_NUMBER: _ClassVar[int]
    SPAN_ID_FIELD_NUMBER: _ClassVar[int]
    cluster: str
    cause: str
    open_ms: int
    span_id: int
    def __init__(self, cluster: _Optional[str] = ..., cause: _Optional[str] = ..., open_ms: _Optional[int] = ..., span_id: _Optional[int] = ...) -> None: ...

class Health(_message.Message):
    __slots__ = ("cluster", "endpoint", "address", "cause")
    CLUSTER_FIELD_NUMBER: _ClassVar[int]
    ENDPOINT_FIELD_NUMBER: _ClassVar[int]
    ADDRESS_FIELD_NUMBER: _ClassVar[int]
    CAUSE_FIELD_NUMBER: _ClassVar[int]
    cluster: str
    endpoint: str
    address: str
    cause: str
    def __init__(self, cluster: _Optional[str] = ..., endpoint: _Optional[str] = ..., address: _Optional[str] = ..., cause: _Optional[str] = ...) -> None: ...

class Panicked(_message.Message):
    __slots__ = ("message",)
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    message: str
    def __init__(self, message: _Optional[str] = ...) -> None: ...

class Query(_message.Message):
    __slots__ = ("stats", "listeners", "clusters", "failures", "used", "slowest", "exchange", "explain")
    STATS_FIELD_NUMBER: _ClassVar[int]
    LISTENERS_FIELD_NUMBER: _ClassVar[int]
    CLUSTERS_FIELD_NUMBER: _ClassVar[int]
    FAILURES_FIELD_NUMBER: _ClassVar[int]
    USED_FIELD_NUMBER: _ClassVar[int]
    SLOWEST_FIELD_NUMBER: _ClassVar[int]
    EXCHANGE_FIELD_NUMBER: _ClassVar[int]
    EXPLAIN_FIELD_NUMBER: _ClassVar[int]
    stats: StatsQuery
    listeners: ListenersQuery
    clusters: ClustersQuery
    failures: FailuresQuery
    used: UsedQuery
    slowest: SlowestQuery
    exchange: ExchangeQuery
    explain: ExplainQuery
    def __init__(self, stats: _Optional[_Union[StatsQuery, _Mapping]] = ..., listeners: _Optional[_Union[ListenersQuery, _Mapping]] = ..., clusters: _Optional[_Union[ClustersQuery, _Mapping]] = ..., failures: _Optional[_Union[FailuresQuery, _Mapping]] = ..., used: _Optional[_Union[UsedQuery, _Mapping]] = ..., slowest: _Optional[_Union[SlowestQuery, _Mapping]] = ..., exchange: _Optional[_Union[ExchangeQuery, _Mapping]] = ..., explain: _Optional[_Union[ExplainQuery, _Mapping]] = ...) -> None: ...

class StatsQuery(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class UsedQuery(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class ListenersQuery(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class ClustersQuery(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class FailuresQuery(_message.Message):
    __slots__ = ("limit",)
    LIMIT_FIELD_NUMBER: _ClassVar[int]
    limit: int
    def __init__(self, limit: _Optional[int] = ...) -> None: ...

class SlowestQuery(_message.Message):
    __slots__ = ("limit",)
    LIMIT_FIELD_NUMBER: _ClassVar[int]
    limit: int
    def __init__(self, limit: _Optional[int] = ...) -> None: ...

class ExchangeQuery(_message.Message):
    __slots__ = ("id",)
    ID_FIELD_NUMBER: _ClassVar[int]
    id: str
    def __init__(self, id: _Optional[str] = ...) -> None: ...

class ExplainQuery(_message.Message):
    __slots__ = ("snapshot", "listener", "method", "url", "headers", "peer", "client")
    SNAPSHOT_FIELD_NUMBER: _ClassVar[int]
    LISTENER_FIELD_NUMBER: _ClassVar[int]
    METHOD_FIELD_NUMBER: _ClassVar[int]
    URL_FIELD_NUMBER: _ClassVar[int]
    HEADERS_FIELD_NUMBER: _ClassVar[int]
    PEER_FIELD_NUMBER: _ClassVar[int]
    CLIENT_FIELD_NUMBER: _ClassVar[int]
    snapshot: bytes
    listener: str
    method: str
    url: str
    headers: _containers.RepeatedCompositeFieldContainer[Field]
    peer: str
    client: str
    def __init__(self, snapshot: _Optional[bytes] = ..., listener: _Optional[str] = ..., method: _Optional[str] = ..., url: _Optional[str] = ..., headers: _Optional[_Iterable[_Union[Field, _Mapping]]] = ..., peer: _Optional[str] = ..., client: _Optional[str] = ...) -> None: ...

class Field(_message.Message):
    __slots__ = ("name", "value")
    NAME_FIELD_NUMBER: _ClassVar[int]
    VALUE_FIELD_NUMBER: _ClassVar[int]
    name: str
    value: str
    def __init__(self, name: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...

class Explanation(_message.Message):
    __slots__ = ("host", "route", "missed", "verdicts", "answered", "target", "faulty", "refused", "rewritten_host")
    HOST_FIELD_NUMBER: _ClassVar[int]
    ROUTE_FIELD_NUMBER: _ClassVar[int]
    MISSED_FIELD_NUMBER: _ClassVar[int]
    VERDICTS_FIELD_NUMBER: _ClassVar[int]
    ANSWERED_FIELD_NUMBER: _ClassVar[int]
    TARGET_FIELD_NUMBER: _ClassVar[int]
    FAULTY_FIELD_NUMBER: _ClassVar[int]
    REFUSED_FIELD_NUMBER: _ClassVar[int]
    REWRITTEN_HOST_FIELD_NUMBER: _ClassVar[int]
    host: str
    route: int
    missed: _containers.RepeatedCompositeFieldContainer[Missed]
    verdicts: _containers.RepeatedCompositeFieldContainer[_snapshot_pb2.Verdict]
    answered: bool
    target: str
    faulty: bool
    refused: str
    rewritten_host: str
    def __init__(self, host: _Optional[str] = ..., route: _Optional[int] = ..., missed: _Optional[_Iterable[_Union[Missed, _Mapping]]] = ..., verdicts: _Optional[_Iterable[_Union[_snapshot_pb2.Verdict, _Mapping]]] = ..., answered: _Optional[bool] = ..., target: _Optional[str] = ..., faulty: _Optional[bool] = ..., refused: _Optional[str] = ..., rewritten_host: _Optional[str] = ...) -> None: ...

class Missed(_message.Message):
    __slots__ = ("route", "conditions")
    ROUTE_FIELD_NUMBER: _ClassVar[int]
    CONDITIONS_FIELD_NUMBER: _ClassVar[int]
    route: int
    conditions: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, route: _Optional[int] = ..., conditions: _Optional[_Iterable[str]] = ...) -> None: ...

class Reply(_message.Message):
    __slots__ = ("stats", "listeners", "clusters", "exchanges", "used", "explanation")
    STATS_FIELD_NUMBER: _ClassVar[int]
    LISTENERS_FIELD_NUMBER: _ClassVar[int]
    CLUSTERS_FIELD_NUMBER: _ClassVar[int]
    EXCHANGES_FIELD_NUMBER: _ClassVar[int]
    USED_FIELD_NUMBER: _ClassVar[int]
    EXPLANATION_FIELD_NUMBER: _ClassVar[int]
    stats: Stats
    listeners: Listeners
    clusters: Clusters
    exchanges: Exchanges
    used: Used
    explanation: Explanation
    def __init__(self, stats: _Optional[_Union[Stats, _Mapping]] = ..., listeners: _Optional[_Union[Listeners, _Mapping]] = ..., clusters: _Optional[_Union[Clusters, _Mapping]] = ..., exchanges: _Optional[_Union[Exchanges, _Mapping]] = ..., used: _Optional[_Union[Used, _Mapping]] = ..., explanation: _Optional[_Union[Explanation, _Mapping]] = ...) -> None: ...

class Used(_message.Message):
    __slots__ = ("clusters",)
    CLUSTERS_FIELD_NUMBER: _ClassVar[int]
    clusters: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, clusters: _Optional[_Iterable[str]] = ...) -> None: ...

class Stats(_message.Message):
    __slots__ = ("snapshot_version", "secrets_version", "exchanges_active", "exchanges_total", "connections_active", "spans_dropped", "access_log_dropped", "events_dropped", "panics", "draining")
    SNAPSHOT_VERSION_FIELD_NUMBER: _ClassVar[int]
    SECRETS_VERSION_FIELD_NUMBER: _ClassVar[int]
    EXCHANGES_ACTIVE_FIELD_NUMBER: _ClassVar[int]
    EXCHANGES_TOTAL_FIELD_NUMBER: _ClassVar[int]
    CONNECTIONS_ACTIVE_FIELD_NUMBER: _ClassVar[int]
    SPANS_DROPPED_FIELD_NUMBER: _ClassVar[int]
    ACCESS_LOG_DROPPED_FIELD_NUMBER: _ClassVar[int]
    EVENTS_DROPPED_FIELD_NUMBER: _ClassVar[int]
    PANICS_FIELD_NUMBER: _ClassVar[int]
    DRAINING_FIELD_NUMBER: _ClassVar[int]
    snapshot_version: int
    secrets_version: int
    exchanges_active: int
    exchanges_total: int
    connections_active: int
    spans_dropped: int
    access_log_dropped: int
    events_dropped: int
    panics: int
    draining: bool
    def __init__(self, snapshot_version: _Optional[int] = ..., secrets_version: _Optional[int] = ..., exchanges_active: _Optional[int] = ..., exchanges_total: _Optional[int] = ..., connections_active: _Optional[int] = ..., spans_dropped: _Optional[int] = ..., access_log_dropped: _Optional[int] = ..., events_dropped: _Optional[int] = ..., panics: _Optional[int] = ..., draining: _Optional[bool] = ...) -> None: ...

class Listeners(_message.Message):
    __slots__ = ("listeners",)
    LISTENERS_FIELD_NUMBER: _ClassVar[int]
    listeners: _containers.RepeatedCompositeFieldContainer[ListenerBound]
    def __init__(self, listeners: _Optional[_Iterable[_Union[ListenerBound, _Mapping]]] = ...) -> None: ...

class Clusters(_message.Message):
    __slots__ = ("clusters",)
    CLUSTERS_FIELD_NUMBER: _ClassVar[int]
    clusters: _containers.RepeatedCompositeFieldContainer[ClusterState]
    def __init__(self, clusters: _Optional[_Iterable[_Union[ClusterState, _Mapping]]] = ...) -> None: ...

class ClusterState(_message.Message):
    __slots__ = ("name", "version", "endpoints", "requests_active", "requests_pending", "connections_active", "retries_active", "open_ms", "limits")
    NAME_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    ENDPOINTS_FIELD_NUMBER: _ClassVar[int]
    REQUESTS_ACTIVE_FIELD_NUMBER: _ClassVar[int]
    REQUESTS_PENDING_FIELD_NUMBER: _ClassVar[int]
    CONNECTIONS_ACTIVE_FIELD_NUMBER: _ClassVar[int]
    RETRIES_ACTIVE_FIELD_NUMBER: _ClassVar[int]
    OPEN_MS_FIELD_NUMBER: _ClassVar[int]
    LIMITS_FIELD_NUMBER: _ClassVar[int]
    name: str
    version: int
    endpoints: _containers.RepeatedCompositeFieldContainer[EndpointState]
    requests_active: int
    requests_pending: int
    connections_active: int
    retries_active: int
    open_ms: int
    limits: _snapshot_pb2.ClusterLimits
    def __init__(self, name: _Optional[str] = ..., version: _Optional[int] = ..., endpoints: _Optional[_Iterable[_Union[EndpointState, _Mapping]]] = ..., requests_active: _Optional[int] = ..., requests_pending: _Optional[int] = ..., connections_active: _Optional[int] = ..., retries_active: _Optional[int] = ..., open_ms: _Optional[int] = ..., limits: _Optional[_Union[_snapshot_pb2.ClusterLimits, _Mapping]] = ...) -> None: ...

class EndpointState(_message.Message):
    __slots__ = ("id", "address", "healthy", "weight", "requests_active", "requests_total", "failures_total", "connections_active", "overloads_total", "ejected_ms", "priority", "requests_pending", "retries_active", "check")
    ID_FIELD_NUMBER: _ClassVar[int]
    ADDRESS_FIELD_NUMBER: _ClassVar[int]
    HEALTHY_FIELD_NUMBER: _ClassVar[int]
    WEIGHT_FIELD_NUMBER: _ClassVar[int]
    REQUESTS_ACTIVE_FIELD_NUMBER: _ClassVar[int]
    REQUESTS_TOTAL_FIELD_NUMBER: _ClassVar[int]
    FAILURES_TOTAL_FIELD_NUMBER: _ClassVar[int]
    CONNECTIONS_ACTIVE_FIELD_NUMBER: _ClassVar[int]
    OVERLOADS_TOTAL_FIELD_NUMBER: _ClassVar[int]
    EJECTED_MS_FIELD_NUMBER: _ClassVar[int]
    PRIORITY_FIELD_NUMBER: _ClassVar[int]
    REQUESTS_PENDING_FIELD_NUMBER: _ClassVar[int]
    RETRIES_ACTIVE_FIELD_NUMBER: _ClassVar[int]
    CHECK_FIELD_NUMBER: _ClassVar[int]
    id: str
    address: str
    healthy: bool
    weight: int
    requests_active: int
    requests_total: int
    failures_total: int
    connections_active: int
    overloads_total: int
    ejected_ms: int
    priority: int
    requests_pending: int
    retries_active: int
    check: CheckState
    def __init__(self, id: _Optional[str] = ..., address: _Optional[str] = ..., healthy: _Optional[bool] = ..., weight: _Optional[int] = ..., requests_active: _Optional[int] = ..., requests_total: _Optional[int] = ..., failures_total: _Optional[int] = ..., connections_active: _Optional[int] = ..., overloads_total: _Optional[int] = ..., ejected_ms: _Optional[int] = ..., priority: _Optional[int] = ..., requests_pending: _Optional[int] = ..., retries_active: _Optional[int] = ..., check: _Optional[_Union[CheckState, _Mapping]] = ...) -> None: ...

class CheckState(_message.Message):
    __slots__ = ("well", "error")
    WELL_FIELD_NUMBER: _ClassVar[int]
    ERROR_FIELD_NUMBER: _ClassVar[int]
    well: bool
    error: str
    def __init__(self, well: _Optional[bool] = ..., error: _Optional[str] = ...) -> None: ...

class Exchanges(_message.Message):
    __slots__ = ("exchanges",)
    EXCHANGES_FIELD_NUMBER: _ClassVar[int]
    exchanges: _containers.RepeatedCompositeFieldContainer[Exchange]
    def __init__(self, exchanges: _Optional[_Iterable[_Union[Exchange, _Mapping]]] = ...) -> None: ...

class Exchange(_message.Message):
    __slots__ = ("unix_nanos", "request_id", "trace_id", "method", "authority", "path", "status", "grpc_status", "reason", "detail", "route", "cluster", "attempts", "candidates_total", "candidates_healthy", "origin", "duration_us", "candidates_ejected", "candidates_priority", "candidates_panic", "origin_index", "rule", "next", "told", "told_detail", "told_next", "direction", "listener", "client", "peer", "span_id", "parent_id", "received", "sent", "tcp", "candidates_ill")
    UNIX_NANOS_FIELD_NUMBER: _ClassVar[int]
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    TRACE_ID_FIELD_NUMBER: _ClassVar[int]
    METHOD_FIELD_NUMBER: _ClassVar[int]
    AUTHORITY_FIELD_NUMBER: _ClassVar[int]
    PATH_FIELD_NUMBER: _ClassVar[int]
    STATUS_FIELD_NUMBER: _ClassVar[int]
    GRPC_STATUS_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    DETAIL_FIELD_NUMBER: _ClassVar[int]
    ROUTE_FIELD_NUMBER: _ClassVar[int]
    CLUSTER_FIELD_NUMBER: _ClassVar[int]
    ATTEMPTS_FIELD_NUMBER: _ClassVar[int]
    CANDIDATES_TOTAL_FIELD_NUMBER: _ClassVar[int]
    CANDIDATES_HEALTHY_FIELD_NUMBER: _ClassVar[int]
    ORIGIN_FIELD_NUMBER: _ClassVar[int]
    DURATION_US_FIELD_NUMBER: _ClassVar[int]
    CANDIDATES_EJECTED_FIELD_NUMBER: _ClassVar[int]
    CANDIDATES_PRIORITY_FIELD_NUMBER: _ClassVar[int]
    CANDIDATES_PANIC_FIELD_NUMBER: _ClassVar[int]
    ORIGIN_INDEX_FIELD_NUMBER: _ClassVar[int]
    RULE_FIELD_NUMBER: _ClassVar[int]
    NEXT_FIELD_NUMBER: _ClassVar[int]
    TOLD_FIELD_NUMBER: _ClassVar[int]
    TOLD_DETAIL_FIELD_NUMBER: _ClassVar[int]
    TOLD_NEXT_FIELD_NUMBER: _ClassVar[int]
    DIRECTION_FIELD_NUMBER: _ClassVar[int]
    LISTENER_FIELD_NUMBER: _ClassVar[int]
    CLIENT_FIELD_NUMBER: _ClassVar[int]
    PEER_FIELD_NUMBER: _ClassVar[int]
    SPAN_ID_FIELD_NUMBER: _ClassVar[int]
    PARENT_ID_FIELD_NUMBER: _ClassVar[int]
    RECEIVED_FIELD_NUMBER: _ClassVar[int]
    SENT_FIELD_NUMBER: _ClassVar[int]
    TCP_FIELD_NUMBER: _ClassVar[int]
    CANDIDATES_ILL_FIELD_NUMBER: _ClassVar[int]
    unix_nanos: int
    request_id: str
    trace_id: str
    method: str
    authority: str
    path: str
    status: int
    grpc_status: str
    reason: str
    detail: str
    route: str
    cluster: str
    attempts: _containers.RepeatedCompositeFieldContainer[Attempt]
    candidates_total: int
    candidates_healthy: int
    origin: str
    duration_us: int
    candidates_ejected: int
    candidates_priority: int
    candidates_panic: bool
    origin_index: int
    rule: str
    next: str
    told: str
    told_detail: str
    told_next: str
    direction: str
    listener: str
    client: str
    peer: str
    span_id: str
    parent_id: str
    received: int
    sent: int
    tcp: bool
    candidates_ill: int
    def __init__(self, unix_nanos: _Optional[int] = ..., request_id: _Optional[str] = ..., trace_id: _Optional[str] = ..., method: _Optional[str] = ..., authority: _Optional[str] = ..., path: _Optional[str] = ..., status: _Optional[int] = ..., grpc_status: _Optional[str] = ..., reason: _Optional[str] = ..., detail: _Optional[str] = ..., route: _Optional[str] = ..., cluster: _Optional[str] = ..., attempts: _Optional[_Iterable[_Union[Attempt, _Mapping]]] = ..., candidates_total: _Optional[int] = ..., candidates_healthy: _Optional[int] = ..., origin: _Optional[str] = ..., duration_us: _Optional[int] = ..., candidates_ejected: _Optional[int] = ..., candidates_priority: _Optional[int] = ..., candidates_panic: _Optional[bool] = ..., origin_index: _Optional[int] = ..., rule: _Optional[str] = ..., next: _Optional[str] = ..., told: _Optional[str] = ..., told_detail: _Optional[str] = ..., told_next: _Optional[str] = ..., direction: _Optional[str] = ..., listener: _Optional[str] = ..., client: _Optional[str] = ..., peer: _Optional[str] = ..., span_id: _Optional[str] = ..., parent_id: _Optional[str] = ..., received: _Optional[int] = ..., sent: _Optional[int] = ..., tcp: _Optional[bool] = ..., candidates_ill: _Optional[int] = ...) -> None: ...

class Attempt(_message.Message):
    __slots__ = ("endpoint", "why", "duration_us", "address", "peer", "status", "grpc_status", "started_us", "span_id")
    ENDPOINT_FIELD_NUMBER: _ClassVar[int]
    WHY_FIELD_NUMBER: _ClassVar[int]
    DURATION_US_FIELD_NUMBER: _ClassVar[int]
    ADDRESS_FIELD_NUMBER: _ClassVar[int]
    PEER_FIELD_NUMBER: _ClassVar[int]
    STATUS_FIELD_NUMBER: _ClassVar[int]
    GRPC_STATUS_FIELD_NUMBER: _ClassVar[int]
    STARTED_US_FIELD_NUMBER: _ClassVar[int]
    SPAN_ID_FIELD_NUMBER: _ClassVar[int]
    endpoint: str
    why: str
    duration_us: int
    address: str
    peer: str
    status: int
    grpc_status: str
    started_us: int
    span_id: str
    def __init__(self, endpoint: _Optional[str] = ..., why: _Optional[str] = ..., duration_us: _Optional[int] = ..., address: _Optional[str] = ..., peer: _Optional[str] = ..., status: _Optional[int] = ..., grpc_status: _Optional[str] = ..., started_us: _Optional[int] = ..., span_id: _Optional[str] = ...) -> None: ...
