from sidecar.wire import telemetry_pb2 as _telemetry_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class Direction(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    DIRECTION_UNSPECIFIED: _ClassVar[Direction]
    DIRECTION_INBOUND: _ClassVar[Direction]
    DIRECTION_OUTBOUND: _ClassVar[Direction]
    DIRECTION_EDGE: _ClassVar[Direction]

class ListenerMode(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    LISTENER_MODE_HTTP: _ClassVar[ListenerMode]
    LISTENER_MODE_PROXY: _ClassVar[ListenerMode]
    LISTENER_MODE_TCP: _ClassVar[ListenerMode]
    LISTENER_MODE_BY_ALPN: _ClassVar[ListenerMode]

class RateAlgorithm(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    RATE_ALGORITHM_TOKEN_BUCKET: _ClassVar[RateAlgorithm]
    RATE_ALGORITHM_SLIDING_WINDOW: _ClassVar[RateAlgorithm]

class TlsVersion(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    TLS_VERSION_UNSPECIFIED: _ClassVar[TlsVersion]
    TLS_VERSION_1_2: _ClassVar[TlsVersion]
    TLS_VERSION_1_3: _ClassVar[TlsVersion]

class Coding(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    CODING_UNSPECIFIED: _ClassVar[Coding]
    CODING_ZSTD: _ClassVar[Coding]
    CODING_BROTLI: _ClassVar[Coding]
    CODING_GZIP: _ClassVar[Coding]

class UpstreamProtocol(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    UPSTREAM_PROTOCOL_UNSPECIFIED: _ClassVar[UpstreamProtocol]
    UPSTREAM_PROTOCOL_HTTP1: _ClassVar[UpstreamProtocol]
    UPSTREAM_PROTOCOL_HTTP2: _ClassVar[UpstreamProtocol]
    UPSTREAM_PROTOCOL_GRPC: _ClassVar[UpstreamProtocol]
    UPSTREAM_PROTOCOL_TCP: _ClassVar[UpstreamProtocol]

class BalancePolicy(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    BALANCE_POLICY_UNSPECIFIED: _ClassVar[BalancePolicy]
    BALANCE_POLICY_ROUND_ROBIN: _ClassVar[BalancePolicy]
    BALANCE_POLICY_LEAST_REQUEST: _ClassVar[BalancePolicy]
    BALANCE_POLICY_RANDOM: _ClassVar[BalancePolicy]
    BALANCE_POLICY_PEAK_EWMA: _ClassVar[BalancePolicy]
    BALANCE_POLICY_RING_HASH: _ClassVar[BalancePolicy]
    BALANCE_POLICY_MAGLEV: _ClassVar[BalancePolicy]
DIRECTION_UNSPECIFIED: Direction
DIRECTION_INBOUND: Direction
DIRECTION_OUTBOUND: Direction
DIRECTION_EDGE: Direction
LISTENER_MODE_HTTP: ListenerMode
LISTENER_MODE_PROXY: ListenerMode
LISTENER_MODE_TCP: ListenerMode
LISTENER_MODE_BY_ALPN: ListenerMode
RATE_ALGORITHM_TOKEN_BUCKET: RateAlgorithm
RATE_ALGORITHM_SLIDING_WINDOW: RateAlgorithm
TLS_VERSION_UNSPECIFIED: TlsVersion
TLS_VERSION_1_2: TlsVersion
TLS_VERSION_1_3: TlsVersion
CODING_UNSPECIFIED: Coding
CODING_ZSTD: Coding
CODING_BROTLI: Coding
CODING_GZIP: Coding
UPSTREAM_PROTOCOL_UNSPECIFIED: UpstreamProtocol
UPSTREAM_PROTOCOL_HTTP1: UpstreamProtocol
UPSTREAM_PROTOCOL_HTTP2: UpstreamProtocol
UPSTREAM_PROTOCOL_GRPC: UpstreamProtocol
UPSTREAM_PROTOCOL_TCP: UpstreamProtocol
BALANCE_POLICY_UNSPECIFIED: BalancePolicy
BALANCE_POLICY_ROUND_ROBIN: BalancePolicy
BALANCE_POLICY_LEAST_REQUEST: BalancePolicy
BALANCE_POLICY_RANDOM: BalancePolicy
BALANCE_POLICY_PEAK_EWMA: BalancePolicy
BALANCE_POLICY_RING_HASH: BalancePolicy
BALANCE_POLICY_MAGLEV: BalancePolicy

class Snapshot(_message.Message):
    __slots__ = ("version", "listeners", "route_tables", "clusters", "telemetry")
    VERSION_FIELD_NUMBER: _ClassVar[int]
    LISTENERS_FIELD_NUMBER: _ClassVar[int]
    ROUTE_TABLES_FIELD_NUMBER: _ClassVar[int]
    CLUSTERS_FIELD_NUMBER: _ClassVar[int]
    TELEMETRY_FIELD_NUMBER: _ClassVar[int]
    version: int
    listeners: _containers.RepeatedCompositeFieldContainer[Listener]
    route_tables: _containers.RepeatedCompositeFieldContainer[RouteTable]
    clusters: _containers.RepeatedCompositeFieldContainer[Cluster]
    telemetry: _telemetry_pb2.Telemetry
    def __init__(self, version: _Optional[int] = ..., listeners: _Optional[_Iterable[_Union[Listener, _Mapping]]] = ..., route_tables: _Optional[_Iterable[_Union[RouteTable, _Mapping]]] = ..., clusters: _Optional[_Iterable[_Union[Cluster, _Mapping]]] = ..., telemetry: _Optional[_Union[_telemetry_pb2.Telemetry, _Mapping]] = ...) -> None: ...

class Origin(_message.Message):
    __slots__ = ("place", "index")
    PLACE_FIELD_NUMBER: _ClassVar[int]
    INDEX_FIELD_NUMBER: _ClassVar[int]
    place: str
    index: int
    def __init__(self, place: _Optional[str] = ..., index: _Optional[int] = ...) -> None: ...

class Listener(_message.Message):
    __slots__ = ("name", "address", "direction", "route_table", "tls", "limits", "origin", "forwarding", "mode", "authorization", "admission", "sources", "https_redirect", "hsts", "error_pages", "proxy_protocol", "health_path")
    NAME_FIELD_NUMBER: _ClassVar[int]
    ADDRESS_FIELD_NUMBER: _ClassVar[int]
    DIRECTION_FIELD_NUMBER: _ClassVar[int]
    ROUTE_TABLE_FIELD_NUMBER: _ClassVar[int]
    TLS_FIELD_NUMBER: _ClassVar[int]
    LIMITS_FIELD_NUMBER: _ClassVar[int]
    ORIGIN_FIELD_NUMBER: _ClassVar[int]
    FORWARDING_FIELD_NUMBER: _ClassVar[int]
    MODE_FIELD_NUMBER: _ClassVar[int]
    AUTHORIZATION_FIELD_NUMBER: _ClassVar[int]
    ADMISSION_FIELD_NUMBER: _ClassVar[int]
    SOURCES_FIELD_NUMBER: _ClassVar[int]
    HTTPS_REDIRECT_FIELD_NUMBER: _ClassVar[int]
    HSTS_FIELD_NUMBER: _ClassVar[int]
    ERROR_PAGES_FIELD_NUMBER: _ClassVar[int]
    PROXY_PROTOCOL_FIELD_NUMBER: _ClassVar[int]
    HEALTH_PATH_FIELD_NUMBER: _ClassVar[int]
    name: str
    address: str
    direction: Direction
    route_table: str
    tls: ServerTls
    limits: ListenerLimits
    origin: Origin
    forwarding: Forwarding
    mode: ListenerMode
    authorization: Authorization
    admission: Admission
    sources: Sources
    https_redirect: HttpsRedirect
    hsts: str
    error_pages: _containers.RepeatedCompositeFieldContainer[ErrorPage]
    proxy_protocol: ProxyProtocol
    health_path: str
    def __init__(self, name: _Optional[str] = ..., address: _Optional[str] = ..., direction: _Optional[_Union[Direction, str]] = ..., route_table: _Optional[str] = ..., tls: _Optional[_Union[ServerTls, _Mapping]] = ..., limits: _Optional[_Union[ListenerLimits, _Mapping]] = ..., origin: _Optional[_Union[Origin, _Mapping]] = ..., forwarding: _Optional[_Union[Forwarding, _Mapping]] = ..., mode: _Optional[_Union[ListenerMode, str]] = ..., authorization: _Optional[_Union[Authorization, _Mapping]] = ..., admission: _Optional[_Union[Admission, _Mapping]] = ..., sources: _Optional[_Union[Sources, _Mapping]] = ..., https_redirect: _Optional[_Union[HttpsRedirect, _Mapping]] = ..., hsts: _Optional[str] = ..., error_pages: _Optional[_Iterable[_Union[ErrorPage, _Mapping]]] = ..., proxy_protocol: _Optional[_Union[ProxyProtocol, _Mapping]] = ..., health_path: _Optional[str] = ...) -> None: ...

class ProxyProtocol(_message.Message):
    __slots__ = ("trusted",)
    TRUSTED_FIELD_NUMBER: _ClassVar[int]
    trusted: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, trusted: _Optional[_Iterable[str]] = ...) -> None: ...

class HttpsRedirect(_message.Message):
    __slots__ = ("status", "port")
    STATUS_FIELD_NUMBER: _ClassVar[int]
    PORT_FIELD_NUMBER: _ClassVar[int]
    status: int
    port: int
    def __init__(self, status: _Optional[int] = ..., port: _Optional[int] = ...) -> None: ...

class ErrorPage(_message.Message):
    __slots__ = ("statuses", "content_type", "body")
    STATUSES_FIELD_NUMBER: _ClassVar[int]
    CONTENT_TYPE_FIELD_NUMBER: _ClassVar[int]
    BODY_FIELD_NUMBER: _ClassVar[int]
    statuses: _containers.RepeatedCompositeFieldContainer[StatusRange]
    content_type: str
    body: bytes
    def __init__(self, statuses: _Optional[_Iterable[_Union[StatusRange, _Mapping]]] = ..., content_type: _Optional[str] = ..., body: _Optional[bytes] = ...) -> None: ...

class Redirect(_message.Message):
    __slots__ = ("status", "scheme", "host", "port", "whole", "prefix", "strip_query")
    STATUS_FIELD_NUMBER: _ClassVar[int]
    SCHEME_FIELD_NUMBER: _ClassVar[int]
    HOST_FIELD_NUMBER: _ClassVar[int]
    PORT_FIELD_NUMBER: _ClassVar[int]
    WHOLE_FIELD_NUMBER: _ClassVar[int]
    PREFIX_FIELD_NUMBER: _ClassVar[int]
    STRIP_QUERY_FIELD_NUMBER: _ClassVar[int]
    status: int
    scheme: str
    host: str
    port: int
    whole: str
    prefix: str
    strip_query: bool
    def __init__(self, status: _Optional[int] = ..., scheme: _Optional[str] = ..., host: _Optional[str] = ..., port: _Optional[int] = ..., whole: _Optional[str] = ..., prefix: _Optional[str] = ..., strip_query: _Optional[bool] = ...) -> None: ...

class DirectResponse(_message.Message):
    __slots__ = ("status", "headers", "body")
    class Field(_message.Message):
        __slots__ = ("name", "value")
        NAME_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        name: str
        value: str
        def __init__(self, name: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    STATUS_FIELD_NUMBER: _ClassVar[int]
    HEADERS_FIELD_NUMBER: _ClassVar[int]
    BODY_FIELD_NUMBER: _ClassVar[int]
    status: int
    headers: _containers.RepeatedCompositeFieldContainer[DirectResponse.Field]
    body: bytes
    def __init__(self, status: _Optional[int] = ..., headers: _Optional[_Iterable[_Union[DirectResponse.Field, _Mapping]]] = ..., body: _Optional[bytes] = ...) -> None: ...

class Sources(_message.Message):
    __slots__ = ("only", "allow", "deny", "allow_lists", "deny_lists")
    ONLY_FIELD_NUMBER: _ClassVar[int]
    ALLOW_FIELD_NUMBER: _ClassVar[int]
    DENY_FIELD_NUMBER: _ClassVar[int]
    ALLOW_LISTS_FIELD_NUMBER: _ClassVar[int]
    DENY_LISTS_FIELD_NUMBER: _ClassVar[int]
    only: bool
    allow: _containers.RepeatedScalarFieldContainer[str]
    deny: _containers.RepeatedScalarFieldContainer[str]
    allow_lists: _containers.RepeatedScalarFieldContainer[str]
    deny_lists: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, only: _Optional[bool] = ..., allow: _Optional[_Iterable[str]] = ..., deny: _Optional[_Iterable[str]] = ..., allow_lists: _Optional[_Iterable[str]] = ..., deny_lists: _Optional[_Iterable[str]] = ...) -> None: ...

class Admission(_message.Message):
    __slots__ = ("concurrency", "rate")
    CONCURRENCY_FIELD_NUMBER: _ClassVar[int]
    RATE_FIELD_NUMBER: _ClassVar[int]
    concurrency: int
    rate: RateLimit
    def __init__(self, concurrency: _Optional[int] = ..., rate: _Optional[_Union[RateLimit, _Mapping]] = ...) -> None: ...

class RateLimit(_message.Message):
    __slots__ = ("requests", "period_ms", "burst", "by", "algorithm")
    REQUESTS_FIELD_NUMBER: _ClassVar[int]
    PERIOD_MS_FIELD_NUMBER: _ClassVar[int]
    BURST_FIELD_NUMBER: _ClassVar[int]
    BY_FIELD_NUMBER: _ClassVar[int]
    ALGORITHM_FIELD_NUMBER: _ClassVar[int]
    requests: int
    period_ms: int
    burst: int
    by: _containers.RepeatedCompositeFieldContainer[RateKey]
    algorithm: RateAlgorithm
    def __init__(self, requests: _Optional[int] = ..., period_ms: _Optional[int] = ..., burst: _Optional[int] = ..., by: _Optional[_Iterable[_Union[RateKey, _Mapping]]] = ..., algorithm: _Optional[_Union[RateAlgorithm, str]] = ...) -> None: ...

class RateKey(_message.Message):
    __slots__ = ("source", "method", "header", "consumer", "claim", "group")
    SOURCE_FIELD_NUMBER: _ClassVar[int]
    METHOD_FIELD_NUMBER: _ClassVar[int]
    HEADER_FIELD_NUMBER: _ClassVar[int]
    CONSUMER_FIELD_NUMBER: _ClassVar[int]
    CLAIM_FIELD_NUMBER: _ClassVar[int]
    GROUP_FIELD_NUMBER: _ClassVar[int]
    source: bool
    method: bool
    header: str
    consumer: bool
    claim: str
    group: bool
    def __init__(self, source: _Optional[bool] = ..., method: _Optional[bool] = ..., header: _Optional[str] = ..., consumer: _Optional[bool] = ..., claim: _Optional[str] = ..., group: _Optional[bool] = ...) -> None: ...

class Quota(_message.Message):
    __slots__ = ("name", "scope", "rate")
    NAME_FIELD_NUMBER: _ClassVar[int]
    SCOPE_FIELD_NUMBER: _ClassVar[int]
    RATE_FIELD_NUMBER: _ClassVar[int]
    name: str
    scope: str
    rate: RateLimit
    def __init__(self, name: _Optional[str] = ..., scope: _Optional[str] = ..., rate: _Optional[_Union[RateLimit, _Mapping]] = ...) -> None: ...

class Authorization(_message.Message):
    __slots__ = ("trust_domain", "rule_sets", "candidates")
    TRUST_DOMAIN_FIELD_NUMBER: _ClassVar[int]
    RULE_SETS_FIELD_NUMBER: _ClassVar[int]
    CANDIDATES_FIELD_NUMBER: _ClassVar[int]
    trust_domain: str
    rule_sets: _containers.RepeatedCompositeFieldContainer[RuleSet]
    candidates: _containers.RepeatedCompositeFieldContainer[RuleSet]
    def __init__(self, trust_domain: _Optional[str] = ..., rule_sets: _Optional[_Iterable[_Union[RuleSet, _Mapping]]] = ..., candidates: _Optional[_Iterable[_Union[RuleSet, _Mapping]]] = ...) -> None: ...

class RuleSet(_message.Message):
    __slots__ = ("rules", "otherwise")
    RULES_FIELD_NUMBER: _ClassVar[int]
    OTHERWISE_FIELD_NUMBER: _ClassVar[int]
    rules: _containers.RepeatedCompositeFieldContainer[Rule]
    otherwise: Verdict
    def __init__(self, rules: _Optional[_Iterable[_Union[Rule, _Mapping]]] = ..., otherwise: _Optional[_Union[Verdict, _Mapping]] = ...) -> None: ...

class Rule(_message.Message):
    __slots__ = ("source", "condition", "verdict")
    SOURCE_FIELD_NUMBER: _ClassVar[int]
    CONDITION_FIELD_NUMBER: _ClassVar[int]
    VERDICT_FIELD_NUMBER: _ClassVar[int]
    source: str
    condition: Condition
    verdict: Verdict
    def __init__(self, source: _Optional[str] = ..., condition: _Optional[_Union[Condition, _Mapping]] = ..., verdict: _Optional[_Union[Verdict, _Mapping]] = ...) -> None: ...

class Verdict(_message.Message):
    __slots__ = ("allow", "by")
    ALLOW_FIELD_NUMBER: _ClassVar[int]
    BY_FIELD_NUMBER: _ClassVar[int]
    allow: bool
    by: str
    def __init__(self, allow: _Optional[bool] = ..., by: _Optional[str] = ...) -> None: ...

class Condition(_message.Message):
    __slots__ = ("path", "methods", "headers")
    PATH_FIELD_NUMBER: _ClassVar[int]
    METHODS_FIELD_NUMBER: _ClassVar[int]
    HEADERS_FIELD_NUMBER: _ClassVar[int]
    path: PathMatch
    methods: _containers.RepeatedScalarFieldContainer[str]
    headers: _containers.RepeatedCompositeFieldContainer[FieldTest]
    def __init__(self, path: _Optional[_Union[PathMatch, _Mapping]] = ..., methods: _Optional[_Iterable[str]] = ..., headers: _Optional[_Iterable[_Union[FieldTest, _Mapping]]] = ...) -> None: ...

class FieldTest(_message.Message):
    __slots__ = ("name", "present", "exact", "prefix", "suffix", "contains", "regex", "invert", "ignore_case")
    NAME_FIELD_NUMBER: _ClassVar[int]
    PRESENT_FIELD_NUMBER: _ClassVar[int]
    EXACT_FIELD_NUMBER: _ClassVar[int]
    PREFIX_FIELD_NUMBER: _ClassVar[int]
    SUFFIX_FIELD_NUMBER: _ClassVar[int]
    CONTAINS_FIELD_NUMBER: _ClassVar[int]
    REGEX_FIELD_NUMBER: _ClassVar[int]
    INVERT_FIELD_NUMBER: _ClassVar[int]
    IGNORE_CASE_FIELD_NUMBER: _ClassVar[int]
    name: str
    present: bool
    exact: str
    prefix: str
    suffix: str
    contains: str
    regex: str
    invert: bool
    ignore_case: bool
    def __init__(self, name: _Optional[str] = ..., present: _Optional[bool] = ..., exact: _Optional[str] = ..., prefix: _Optional[str] = ..., suffix: _Optional[str] = ..., contains: _Optional[str] = ..., regex: _Optional[str] = ..., invert: _Optional[bool] = ..., ignore_case: _Optional[bool] = ...) -> None: ...

class Forwarding(_message.Message):
    __slots__ = ("trusted", "hops", "forwarded", "client_cert_by")
    TRUSTED_FIELD_NUMBER: _ClassVar[int]
    HOPS_FIELD_NUMBER: _ClassVar[int]
    FORWARDED_FIELD_NUMBER: _ClassVar[int]
    CLIENT_CERT_BY_FIELD_NUMBER: _ClassVar[int]
    trusted: _containers.RepeatedScalarFieldContainer[str]
    hops: int
    forwarded: bool
    client_cert_by: str
    def __init__(self, trusted: _Optional[_Iterable[str]] = ..., hops: _Optional[int] = ..., forwarded: _Optional[bool] = ..., client_cert_by: _Optional[str] = ...) -> None: ...

class ListenerLimits(_message.Message):
    __slots__ = ("max_header_bytes", "max_headers", "max_streams", "header_timeout_ms", "idle_timeout_ms", "max_connection_age_ms", "keepalive_interval_ms", "keepalive_timeout_ms", "max_connections", "max_request_line", "body_timeout_ms", "send_timeout_ms")
    MAX_HEADER_BYTES_FIELD_NUMBER: _ClassVar[int]
    MAX_HEADERS_FIELD_NUMBER: _ClassVar[int]
    MAX_STREAMS_FIELD_NUMBER: _ClassVar[int]
    HEADER_TIMEOUT_MS_FIELD_NUMBER: _ClassVar[int]
    IDLE_TIMEOUT_MS_FIELD_NUMBER: _ClassVar[int]
    MAX_CONNECTION_AGE_MS_FIELD_NUMBER: _ClassVar[int]
    KEEPALIVE_INTERVAL_MS_FIELD_NUMBER: _ClassVar[int]
    KEEPALIVE_TIMEOUT_MS_FIELD_NUMBER: _ClassVar[int]
    MAX_CONNECTIONS_FIELD_NUMBER: _ClassVar[int]
    MAX_REQUEST_LINE_FIELD_NUMBER: _ClassVar[int]
    BODY_TIMEOUT_MS_FIELD_NUMBER: _ClassVar[int]
    SEND_TIMEOUT_MS_FIELD_NUMBER: _ClassVar[int]
    max_header_bytes: int
    max_headers: int
    max_streams: int
    header_timeout_ms: int
    idle_timeout_ms: int
    max_connection_age_ms: int
    keepalive_interval_ms: int
    keepalive_timeout_ms: int
    max_connections: int
    max_request_line: int
    body_timeout_ms: int
    send_timeout_ms: int
    def __init__(self, max_header_bytes: _Optional[int] = ..., max_headers: _Optional[int] = ..., max_streams: _Optional[int] = ..., header_timeout_ms: _Optional[int] = ..., idle_timeout_ms: _Optional[int] = ..., max_connection_age_ms: _Optional[int] = ..., keepalive_interval_ms: _Optional[int] = ..., keepalive_timeout_ms: _Optional[int] = ..., max_connections: _Optional[int] = ..., max_request_line: _Optional[int] = ..., body_timeout_ms: _Optional[int] = ..., send_timeout_ms: _Optional[int] = ...) -> None: ...

class ServerTls(_message.Message):
    __slots__ = ("identities", "trust_bundle", "require_client_certificate", "min_version", "cleartext", "any_client_name")
    IDENTITIES_FIELD_NUMBER: _ClassVar[int]
    TRUST_BUNDLE_FIELD_NUMBER: _ClassVar[int]
    REQUIRE_CLIENT_CERTIFICATE_FIELD_NUMBER: _ClassVar[int]
    MIN_VERSION_FIELD_NUMBER: _ClassVar[int]
    CLEARTEXT_FIELD_NUMBER: _ClassVar[int]
    ANY_CLIENT_NAME_FIELD_NUMBER: _ClassVar[int]
    identities: _containers.RepeatedScalarFieldContainer[str]
    trust_bundle: str
    require_client_certificate: bool
    min_version: TlsVersion
    cleartext: bool
    any_client_name: bool
    def __init__(self, identities: _Optional[_Iterable[str]] = ..., trust_bundle: _Optional[str] = ..., require_client_certificate: _Optional[bool] = ..., min_version: _Optional[_Union[TlsVersion, str]] = ..., cleartext: _Optional[bool] = ..., any_client_name: _Optional[bool] = ...) -> None: ...

class RouteTable(_message.Message):
    __slots__ = ("name", "routes", "tcp_routes")
    NAME_FIELD_NUMBER: _ClassVar[int]
    ROUTES_FIELD_NUMBER: _ClassVar[int]
    TCP_ROUTES_FIELD_NUMBER: _ClassVar[int]
    name: str
    routes: _containers.RepeatedCompositeFieldContainer[Route]
    tcp_routes: _containers.RepeatedCompositeFieldContainer[Route]
    def __init__(self, name: _Optional[str] = ..., routes: _Optional[_Iterable[_Union[Route, _Mapping]]] = ..., tcp_routes: _Optional[_Iterable[_Union[Route, _Mapping]]] = ...) -> None: ...

class Route(_message.Message):
    __slots__ = ("name", "match", "destinations", "timeout_ms", "retry", "origin", "rewrite", "max_request_body", "cors", "preflight", "fault", "mirror", "idle_timeout_ms", "authentication", "access", "sources", "quotas", "shape", "redirect", "respond", "error_pages", "query_changes", "cookie_changes", "compress", "decompress", "rewrite_host")
    NAME_FIELD_NUMBER: _ClassVar[int]
    MATCH_FIELD_NUMBER: _ClassVar[int]
    DESTINATIONS_FIELD_NUMBER: _ClassVar[int]
    TIMEOUT_MS_FIELD_NUMBER: _ClassVar[int]
    RETRY_FIELD_NUMBER: _ClassVar[int]
    ORIGIN_FIELD_NUMBER: _ClassVar[int]
    REWRITE_FIELD_NUMBER: _ClassVar[int]
    MAX_REQUEST_BODY_FIELD_NUMBER: _ClassVar[int]
    CORS_FIELD_NUMBER: _ClassVar[int]
    PREFLIGHT_FIELD_NUMBER: _ClassVar[int]
    FAULT_FIELD_NUMBER: _ClassVar[int]
    MIRROR_FIELD_NUMBER: _ClassVar[int]
    IDLE_TIMEOUT_MS_FIELD_NUMBER: _ClassVar[int]
    AUTHENTICATION_FIELD_NUMBER: _ClassVar[int]
    ACCESS_FIELD_NUMBER: _ClassVar[int]
    SOURCES_FIELD_NUMBER: _ClassVar[int]
    QUOTAS_FIELD_NUMBER: _ClassVar[int]
    SHAPE_FIELD_NUMBER: _ClassVar[int]
    REDIRECT_FIELD_NUMBER: _ClassVar[int]
    RESPOND_FIELD_NUMBER: _ClassVar[int]
    ERROR_PAGES_FIELD_NUMBER: _ClassVar[int]
    QUERY_CHANGES_FIELD_NUMBER: _ClassVar[int]
    COOKIE_CHANGES_FIELD_NUMBER: _ClassVar[int]
    COMPRESS_FIELD_NUMBER: _ClassVar[int]
    DECOMPRESS_FIELD_NUMBER: _ClassVar[int]
    REWRITE_HOST_FIELD_NUMBER: _ClassVar[int]
    name: str
    match: Match
    destinations: _containers.RepeatedCompositeFieldContainer[Destination]
    timeout_ms: int
    retry: RetryPolicy
    origin: Origin
    rewrite: PathRewrite
    max_request_body: int
    cors: Cors
    preflight: bool
    fault: Fault
    mirror: Mirror
    idle_timeout_ms: int
    authentication: Authentication
    access: Access
    sources: Sources
    quotas: _containers.RepeatedCompositeFieldContainer[Quota]
    shape: Shape
    redirect: Redirect
    respond: DirectResponse
    error_pages: _containers.RepeatedCompositeFieldContainer[ErrorPage]
    query_changes: _containers.RepeatedCompositeFieldContainer[HeaderChange]
    cookie_changes: _containers.RepeatedCompositeFieldContainer[HeaderChange]
    compress: Compress
    decompress: Decompress
    rewrite_host: str
    def __init__(self, name: _Optional[str] = ..., match: _Optional[_Union[Match, _Mapping]] = ..., destinations: _Optional[_Iterable[_Union[Destination, _Mapping]]] = ..., timeout_ms: _Optional[int] = ..., retry: _Optional[_Union[RetryPolicy, _Mapping]] = ..., origin: _Optional[_Union[Origin, _Mapping]] = ..., rewrite: _Optional[_Union[PathRewrite, _Mapping]] = ..., max_request_body: _Optional[int] = ..., cors: _Optional[_Union[Cors, _Mapping]] = ..., preflight: _Optional[bool] = ..., fault: _Optional[_Union[Fault, _Mapping]] = ..., mirror: _Optional[_Union[Mirror, _Mapping]] = ..., idle_timeout_ms: _Optional[int] = ..., authentication: _Optional[_Union[Authentication, _Mapping]] = ..., access: _Optional[_Union[Access, _Mapping]] = ..., sources: _Optional[_Union[Sources, _Mapping]] = ..., quotas: _Optional[_Iterable[_Union[Quota, _Mapping]]] = ..., shape: _Optional[_Union[Shape, _Mapping]] = ..., redirect: _Optional[_Union[Redirect, _Mapping]] = ..., respond: _Optional[_Union[DirectResponse, _Mapping]] = ..., error_pages: _Optional[_Iterable[_Union[ErrorPage, _Mapping]]] = ..., query_changes: _Optional[_Iterable[_Union[HeaderChange, _Mapping]]] = ..., cookie_changes: _Optional[_Iterable[_Union[HeaderChange, _Mapping]]] = ..., compress: _Optional[_Union[Compress, _Mapping]] = ..., decompress: _Optional[_Union[Decompress, _Mapping]] = ..., rewrite_host: _Optional[str] = ...) -> None: ...

class Compress(_message.Message):
    __slots__ = ("codings", "content_types", "min_size")
    CODINGS_FIELD_NUMBER: _ClassVar[int]
    CONTENT_TYPES_FIELD_NUMBER: _ClassVar[int]
    MIN_SIZE_FIELD_NUMBER: _ClassVar[int]
    codings: _containers.RepeatedScalarFieldContainer[Coding]
    content_types: _containers.RepeatedScalarFieldContainer[str]
    min_size: int
    def __init__(self, codings: _Optional[_Iterable[_Union[Coding, str]]] = ..., content_types: _Optional[_Iterable[str]] = ..., min_size: _Optional[int] = ...) -> None: ...

class Decompress(_message.Message):
    __slots__ = ("max_size", "max_ratio")
    MAX_SIZE_FIELD_NUMBER: _ClassVar[int]
    MAX_RATIO_FIELD_NUMBER: _ClassVar[int]
    max_size: int
    max_ratio: int
    def __init__(self, max_size: _Optional[int] = ..., max_ratio: _Optional[int] = ...) -> None: ...

class Shape(_message.Message):
    __slots__ = ("methods", "content_types")
    METHODS_FIELD_NUMBER: _ClassVar[int]
    CONTENT_TYPES_FIELD_NUMBER: _ClassVar[int]
    methods: _containers.RepeatedScalarFieldContainer[str]
    content_types: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, methods: _Optional[_Iterable[str]] = ..., content_types: _Optional[_Iterable[str]] = ...) -> None: ...

class Access(_message.Message):
    __slots__ = ("rules",)
    RULES_FIELD_NUMBER: _ClassVar[int]
    rules: _containers.RepeatedCompositeFieldContainer[AccessRule]
    def __init__(self, rules: _Optional[_Iterable[_Union[AccessRule, _Mapping]]] = ...) -> None: ...

class AccessRule(_message.Message):
    __slots__ = ("consumers", "groups", "claims")
    CONSUMERS_FIELD_NUMBER: _ClassVar[int]
    GROUPS_FIELD_NUMBER: _ClassVar[int]
    CLAIMS_FIELD_NUMBER: _ClassVar[int]
    consumers: _containers.RepeatedScalarFieldContainer[str]
    groups: _containers.RepeatedScalarFieldContainer[str]
    claims: _containers.RepeatedCompositeFieldContainer[ClaimTest]
    def __init__(self, consumers: _Optional[_Iterable[str]] = ..., groups: _Optional[_Iterable[str]] = ..., claims: _Optional[_Iterable[_Union[ClaimTest, _Mapping]]] = ...) -> None: ...

class ClaimTest(_message.Message):
    __slots__ = ("claim", "values")
    CLAIM_FIELD_NUMBER: _ClassVar[int]
    VALUES_FIELD_NUMBER: _ClassVar[int]
    claim: str
    values: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, claim: _Optional[str] = ..., values: _Optional[_Iterable[str]] = ...) -> None: ...

class Authentication(_message.Message):
    __slots__ = ("alternatives", "anonymous", "realm")
    ALTERNATIVES_FIELD_NUMBER: _ClassVar[int]
    ANONYMOUS_FIELD_NUMBER: _ClassVar[int]
    REALM_FIELD_NUMBER: _ClassVar[int]
    alternatives: _containers.RepeatedCompositeFieldContainer[Alternative]
    anonymous: str
    realm: str
    def __init__(self, alternatives: _Optional[_Iterable[_Union[Alternative, _Mapping]]] = ..., anonymous: _Optional[str] = ..., realm: _Optional[str] = ...) -> None: ...

class Alternative(_message.Message):
    __slots__ = ("all",)
    ALL_FIELD_NUMBER: _ClassVar[int]
    all: _containers.RepeatedCompositeFieldContainer[Method]
    def __init__(self, all: _Optional[_Iterable[_Union[Method, _Mapping]]] = ...) -> None: ...

class Method(_message.Message):
    __slots__ = ("key", "basic", "jwt", "forward")
    KEY_FIELD_NUMBER: _ClassVar[int]
    BASIC_FIELD_NUMBER: _ClassVar[int]
    JWT_FIELD_NUMBER: _ClassVar[int]
    FORWARD_FIELD_NUMBER: _ClassVar[int]
    key: KeyMethod
    basic: BasicMethod
    jwt: JwtMethod
    forward: bool
    def __init__(self, key: _Optional[_Union[KeyMethod, _Mapping]] = ..., basic: _Optional[_Union[BasicMethod, _Mapping]] = ..., jwt: _Optional[_Union[JwtMethod, _Mapping]] = ..., forward: _Optional[bool] = ...) -> None: ...

class KeyMethod(_message.Message):
    __slots__ = ("carriers",)
    CARRIERS_FIELD_NUMBER: _ClassVar[int]
    carriers: _containers.RepeatedCompositeFieldContainer[Carrier]
    def __init__(self, carriers: _Optional[_Iterable[_Union[Carrier, _Mapping]]] = ...) -> None: ...

class BasicMethod(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class JwtMethod(_message.Message):
    __slots__ = ("carriers", "issuer", "audiences", "algorithms", "key_set", "leeway_s", "without_end", "headers")
    CARRIERS_FIELD_NUMBER: _ClassVar[int]
    ISSUER_FIELD_NUMBER: _ClassVar[int]
    AUDIENCES_FIELD_NUMBER: _ClassVar[int]
    ALGORITHMS_FIELD_NUMBER: _ClassVar[int]
    KEY_SET_FIELD_NUMBER: _ClassVar[int]
    LEEWAY_S_FIELD_NUMBER: _ClassVar[int]
    WITHOUT_END_FIELD_NUMBER: _ClassVar[int]
    HEADERS_FIELD_NUMBER: _ClassVar[int]
    carriers: _containers.RepeatedCompositeFieldContainer[Carrier]
    issuer: str
    audiences: _containers.RepeatedScalarFieldContainer[str]
    algorithms: _containers.RepeatedScalarFieldContainer[str]
    key_set: str
    leeway_s: int
    without_end: bool
    headers: _containers.RepeatedCompositeFieldContainer[ClaimHeader]
    def __init__(self, carriers: _Optional[_Iterable[_Union[Carrier, _Mapping]]] = ..., issuer: _Optional[str] = ..., audiences: _Optional[_Iterable[str]] = ..., algorithms: _Optional[_Iterable[str]] = ..., key_set: _Optional[str] = ..., leeway_s: _Optional[int] = ..., without_end: _Optional[bool] = ..., headers: _Optional[_Iterable[_Union[ClaimHeader, _Mapping]]] = ...) -> None: ...

class ClaimHeader(_message.Message):
    __slots__ = ("claim", "header")
    CLAIM_FIELD_NUMBER: _ClassVar[int]
    HEADER_FIELD_NUMBER: _ClassVar[int]
    claim: str
    header: str
    def __init__(self, claim: _Optional[str] = ..., header: _Optional[str] = ...) -> None: ...

class Carrier(_message.Message):
    __slots__ = ("header", "query", "cookie", "scheme")
    HEADER_FIELD_NUMBER: _ClassVar[int]
    QUERY_FIELD_NUMBER: _ClassVar[int]
    COOKIE_FIELD_NUMBER: _ClassVar[int]
    SCHEME_FIELD_NUMBER: _ClassVar[int]
    header: str
    query: str
    cookie: str
    scheme: str
    def __init__(self, header: _Optional[str] = ..., query: _Optional[str] = ..., cookie: _Optional[str] = ..., scheme: _Optional[str] = ...) -> None: ...

class Fault(_message.Message):
    __slots__ = ("match", "delay_ms", "delay_share", "abort_status", "abort_call", "abort_share", "reset_share", "by_header")
    MATCH_FIELD_NUMBER: _ClassVar[int]
    DELAY_MS_FIELD_NUMBER: _ClassVar[int]
    DELAY_SHARE_FIELD_NUMBER: _ClassVar[int]
    ABORT_STATUS_FIELD_NUMBER: _ClassVar[int]
    ABORT_CALL_FIELD_NUMBER: _ClassVar[int]
    ABORT_SHARE_FIELD_NUMBER: _ClassVar[int]
    RESET_SHARE_FIELD_NUMBER: _ClassVar[int]
    BY_HEADER_FIELD_NUMBER: _ClassVar[int]
    match: Match
    delay_ms: int
    delay_share: int
    abort_status: int
    abort_call: int
    abort_share: int
    reset_share: int
    by_header: bool
    def __init__(self, match: _Optional[_Union[Match, _Mapping]] = ..., delay_ms: _Optional[int] = ..., delay_share: _Optional[int] = ..., abort_status: _Optional[int] = ..., abort_call: _Optional[int] = ..., abort_share: _Optional[int] = ..., reset_share: _Optional[int] = ..., by_header: _Optional[bool] = ...) -> None: ...

class Mirror(_message.Message):
    __slots__ = ("cluster", "share")
    CLUSTER_FIELD_NUMBER: _ClassVar[int]
    SHARE_FIELD_NUMBER: _ClassVar[int]
    cluster: str
    share: int
    def __init__(self, cluster: _Optional[str] = ..., share: _Optional[int] = ...) -> None: ...

class Cors(_message.Message):
    __slots__ = ("allow_origins", "allow_methods", "allow_headers", "expose_headers", "max_age", "allow_credentials")
    ALLOW_ORIGINS_FIELD_NUMBER: _ClassVar[int]
    ALLOW_METHODS_FIELD_NUMBER: _ClassVar[int]
    ALLOW_HEADERS_FIELD_NUMBER: _ClassVar[int]
    EXPOSE_HEADERS_FIELD_NUMBER: _ClassVar[int]
    MAX_AGE_FIELD_NUMBER: _ClassVar[int]
    ALLOW_CREDENTIALS_FIELD_NUMBER: _ClassVar[int]
    allow_origins: _containers.RepeatedScalarFieldContainer[str]
    allow_methods: _containers.RepeatedScalarFieldContainer[str]
    allow_headers: _containers.RepeatedScalarFieldContainer[str]
    expose_headers: _containers.RepeatedScalarFieldContainer[str]
    max_age: int
    allow_credentials: bool
    def __init__(self, allow_origins: _Optional[_Iterable[str]] = ..., allow_methods: _Optional[_Iterable[str]] = ..., allow_headers: _Optional[_Iterable[str]] = ..., expose_headers: _Optional[_Iterable[str]] = ..., max_age: _Optional[int] = ..., allow_credentials: _Optional[bool] = ...) -> None: ...

class Match(_message.Message):
    __slots__ = ("hosts", "path", "methods", "headers", "query", "cookies", "sources", "path_regexes", "parameters")
    HOSTS_FIELD_NUMBER: _ClassVar[int]
    PATH_FIELD_NUMBER: _ClassVar[int]
    METHODS_FIELD_NUMBER: _ClassVar[int]
    HEADERS_FIELD_NUMBER: _ClassVar[int]
    QUERY_FIELD_NUMBER: _ClassVar[int]
    COOKIES_FIELD_NUMBER: _ClassVar[int]
    SOURCES_FIELD_NUMBER: _ClassVar[int]
    PATH_REGEXES_FIELD_NUMBER: _ClassVar[int]
    PARAMETERS_FIELD_NUMBER: _ClassVar[int]
    hosts: _containers.RepeatedScalarFieldContainer[str]
    path: PathMatch
    methods: _containers.RepeatedScalarFieldContainer[str]
    headers: _containers.RepeatedCompositeFieldContainer[ValueMatch]
    query: _containers.RepeatedCompositeFieldContainer[ValueMatch]
    cookies: _containers.RepeatedCompositeFieldContainer[ValueMatch]
    sources: _containers.RepeatedScalarFieldContainer[str]
    path_regexes: _containers.RepeatedScalarFieldContainer[str]
    parameters: _containers.RepeatedCompositeFieldContainer[PathParameter]
    def __init__(self, hosts: _Optional[_Iterable[str]] = ..., path: _Optional[_Union[PathMatch, _Mapping]] = ..., methods: _Optional[_Iterable[str]] = ..., headers: _Optional[_Iterable[_Union[ValueMatch, _Mapping]]] = ..., query: _Optional[_Iterable[_Union[ValueMatch, _Mapping]]] = ..., cookies: _Optional[_Iterable[_Union[ValueMatch, _Mapping]]] = ..., sources: _Optional[_Iterable[str]] = ..., path_regexes: _Optional[_Iterable[str]] = ..., parameters: _Optional[_Iterable[_Union[PathParameter, _Mapping]]] = ...) -> None: ...

class PathParameter(_message.Message):
    __slots__ = ("name", "segment", "rest", "group")
    NAME_FIELD_NUMBER: _ClassVar[int]
    SEGMENT_FIELD_NUMBER: _ClassVar[int]
    REST_FIELD_NUMBER: _ClassVar[int]
    GROUP_FIELD_NUMBER: _ClassVar[int]
    name: str
    segment: int
    rest: int
    group: bool
    def __init__(self, name: _Optional[str] = ..., segment: _Optional[int] = ..., rest: _Optional[int] = ..., group: _Optional[bool] = ...) -> None: ...

class PathMatch(_message.Message):
    __slots__ = ("exact", "prefix", "regex", "begins", "template", "template_prefix")
    EXACT_FIELD_NUMBER: _ClassVar[int]
    PREFIX_FIELD_NUMBER: _ClassVar[int]
    REGEX_FIELD_NUMBER: _ClassVar[int]
    BEGINS_FIELD_NUMBER: _ClassVar[int]
    TEMPLATE_FIELD_NUMBER: _ClassVar[int]
    TEMPLATE_PREFIX_FIELD_NUMBER: _ClassVar[int]
    exact: str
    prefix: str
    regex: str
    begins: str
    template: str
    template_prefix: str
    def __init__(self, exact: _Optional[str] = ..., prefix: _Optional[str] = ..., regex: _Optional[str] = ..., begins: _Optional[str] = ..., template: _Optional[str] = ..., template_prefix: _Optional[str] = ...) -> None: ...

class ValueMatch(_message.Message):
    __slots__ = ("name", "exact", "prefix", "regex", "present", "invert")
    NAME_FIELD_NUMBER: _ClassVar[int]
    EXACT_FIELD_NUMBER: _ClassVar[int]
    PREFIX_FIELD_NUMBER: _ClassVar[int]
    REGEX_FIELD_NUMBER: _ClassVar[int]
    PRESENT_FIELD_NUMBER: _ClassVar[int]
    INVERT_FIELD_NUMBER: _ClassVar[int]
    name: str
    exact: str
    prefix: str
    regex: str
    present: bool
    invert: bool
    def __init__(self, name: _Optional[str] = ..., exact: _Optional[str] = ..., prefix: _Optional[str] = ..., regex: _Optional[str] = ..., present: _Optional[bool] = ..., invert: _Optional[bool] = ...) -> None: ...

class PathRewrite(_message.Message):
    __slots__ = ("prefix", "template", "replaced", "regex", "substitution")
    PREFIX_FIELD_NUMBER: _ClassVar[int]
    TEMPLATE_FIELD_NUMBER: _ClassVar[int]
    REPLACED_FIELD_NUMBER: _ClassVar[int]
    REGEX_FIELD_NUMBER: _ClassVar[int]
    SUBSTITUTION_FIELD_NUMBER: _ClassVar[int]
    prefix: str
    template: str
    replaced: int
    regex: str
    substitution: str
    def __init__(self, prefix: _Optional[str] = ..., template: _Optional[str] = ..., replaced: _Optional[int] = ..., regex: _Optional[str] = ..., substitution: _Optional[str] = ...) -> None: ...

class Destination(_message.Message):
    __slots__ = ("cluster", "weight", "request_headers", "response_headers")
    CLUSTER_FIELD_NUMBER: _ClassVar[int]
    WEIGHT_FIELD_NUMBER: _ClassVar[int]
    REQUEST_HEADERS_FIELD_NUMBER: _ClassVar[int]
    RESPONSE_HEADERS_FIELD_NUMBER: _ClassVar[int]
    cluster: str
    weight: int
    request_headers: _containers.RepeatedCompositeFieldContainer[HeaderChange]
    response_headers: _containers.RepeatedCompositeFieldContainer[HeaderChange]
    def __init__(self, cluster: _Optional[str] = ..., weight: _Optional[int] = ..., request_headers: _Optional[_Iterable[_Union[HeaderChange, _Mapping]]] = ..., response_headers: _Optional[_Iterable[_Union[HeaderChange, _Mapping]]] = ...) -> None: ...

class HeaderChange(_message.Message):
    __slots__ = ("name", "set", "add", "remove")
    NAME_FIELD_NUMBER: _ClassVar[int]
    SET_FIELD_NUMBER: _ClassVar[int]
    ADD_FIELD_NUMBER: _ClassVar[int]
    REMOVE_FIELD_NUMBER: _ClassVar[int]
    name: str
    set: str
    add: str
    remove: bool
    def __init__(self, name: _Optional[str] = ..., set: _Optional[str] = ..., add: _Optional[str] = ..., remove: _Optional[bool] = ...) -> None: ...

class RetryPolicy(_message.Message):
    __slots__ = ("attempts", "reset", "statuses", "calls", "per_try_timeout_ms", "backoff_ms", "backoff_max_ms", "budget")
    ATTEMPTS_FIELD_NUMBER: _ClassVar[int]
    RESET_FIELD_NUMBER: _ClassVar[int]
    STATUSES_FIELD_NUMBER: _ClassVar[int]
    CALLS_FIELD_NUMBER: _ClassVar[int]
    PER_TRY_TIMEOUT_MS_FIELD_NUMBER: _ClassVar[int]
    BACKOFF_MS_FIELD_NUMBER: _ClassVar[int]
    BACKOFF_MAX_MS_FIELD_NUMBER: _ClassVar[int]
    BUDGET_FIELD_NUMBER: _ClassVar[int]
    attempts: int
    reset: bool
    statuses: _containers.RepeatedCompositeFieldContainer[StatusRange]
    calls: _containers.RepeatedScalarFieldContainer[int]
    per_try_timeout_ms: int
    backoff_ms: int
    backoff_max_ms: int
    budget: int
    def __init__(self, attempts: _Optional[int] = ..., reset: _Optional[bool] = ..., statuses: _Optional[_Iterable[_Union[StatusRange, _Mapping]]] = ..., calls: _Optional[_Iterable[int]] = ..., per_try_timeout_ms: _Optional[int] = ..., backoff_ms: _Optional[int] = ..., backoff_max_ms: _Optional[int] = ..., budget: _Optional[int] = ...) -> None: ...

class StatusRange(_message.Message):
    __slots__ = ("first", "last")
    FIRST_FIELD_NUMBER: _ClassVar[int]
    LAST_FIELD_NUMBER: _ClassVar[int]
    first: int
    last: int
    def __init__(self, first: _Optional[int] = ..., last: _Optional[int] = ...) -> None: ...

class Cluster(_message.Message):
    __slots__ = ("name", "service", "subset", "protocol", "balance", "tls", "connect_timeout_ms", "limits", "warm_timeout_ms", "origin", "failures", "balance_settings", "outlier", "breaker", "health_check")
    NAME_FIELD_NUMBER: _ClassVar[int]
    SERVICE_FIELD_NUMBER: _ClassVar[int]
    SUBSET_FIELD_NUMBER: _ClassVar[int]
    PROTOCOL_FIELD_NUMBER: _ClassVar[int]
    BALANCE_FIELD_NUMBER: _ClassVar[int]
    TLS_FIELD_NUMBER: _ClassVar[int]
    CONNECT_TIMEOUT_MS_FIELD_NUMBER: _ClassVar[int]
    LIMITS_FIELD_NUMBER: _ClassVar[int]
    WARM_TIMEOUT_MS_FIELD_NUMBER: _ClassVar[int]
    ORIGIN_FIELD_NUMBER: _ClassVar[int]
    FAILURES_FIELD_NUMBER: _ClassVar[int]
    BALANCE_SETTINGS_FIELD_NUMBER: _ClassVar[int]
    OUTLIER_FIELD_NUMBER: _ClassVar[int]
    BREAKER_FIELD_NUMBER: _ClassVar[int]
    HEALTH_CHECK_FIELD_NUMBER: _ClassVar[int]
    name: str
    service: str
    subset: str
    protocol: UpstreamProtocol
    balance: BalancePolicy
    tls: ClientTls
    connect_timeout_ms: int
    limits: ClusterLimits
    warm_timeout_ms: int
    origin: Origin
    failures: FailureStatuses
    balance_settings: BalanceSettings
    outlier: Outlier
    breaker: ErrorRate
    health_check: HealthCheck
    def __init__(self, name: _Optional[str] = ..., service: _Optional[str] = ..., subset: _Optional[str] = ..., protocol: _Optional[_Union[UpstreamProtocol, str]] = ..., balance: _Optional[_Union[BalancePolicy, str]] = ..., tls: _Optional[_Union[ClientTls, _Mapping]] = ..., connect_timeout_ms: _Optional[int] = ..., limits: _Optional[_Union[ClusterLimits, _Mapping]] = ..., warm_timeout_ms: _Optional[int] = ..., origin: _Optional[_Union[Origin, _Mapping]] = ..., failures: _Optional[_Union[FailureStatuses, _Mapping]] = ..., balance_settings: _Optional[_Union[BalanceSettings, _Mapping]] = ..., outlier: _Optional[_Union[Outlier, _Mapping]] = ..., breaker: _Optional[_Union[ErrorRate, _Mapping]] = ..., health_check: _Optional[_Union[HealthCheck, _Mapping]] = ...) -> None: ...

class HealthCheck(_message.Message):
    __slots__ = ("http", "grpc", "connect", "interval_ms", "timeout_ms", "healthy_threshold", "unhealthy_threshold")
    HTTP_FIELD_NUMBER: _ClassVar[int]
    GRPC_FIELD_NUMBER: _ClassVar[int]
    CONNECT_FIELD_NUMBER: _ClassVar[int]
    INTERVAL_MS_FIELD_NUMBER: _ClassVar[int]
    TIMEOUT_MS_FIELD_NUMBER: _ClassVar[int]
    HEALTHY_THRESHOLD_FIELD_NUMBER: _ClassVar[int]
    UNHEALTHY_THRESHOLD_FIELD_NUMBER: _ClassVar[int]
    http: HttpQuestion
    grpc: str
    connect: bool
    interval_ms: int
    timeout_ms: int
    healthy_threshold: int
    unhealthy_threshold: int
    def __init__(self, http: _Optional[_Union[HttpQuestion, _Mapping]] = ..., grpc: _Optional[str] = ..., connect: _Optional[bool] = ..., interval_ms: _Optional[int] = ..., timeout_ms: _Optional[int] = ..., healthy_threshold: _Optional[int] = ..., unhealthy_threshold: _Optional[int] = ...) -> None: ...

class HttpQuestion(_message.Message):
    __slots__ = ("path", "statuses")
    PATH_FIELD_NUMBER: _ClassVar[int]
    STATUSES_FIELD_NUMBER: _ClassVar[int]
    path: str
    statuses: _containers.RepeatedCompositeFieldContainer[StatusRange]
    def __init__(self, path: _Optional[str] = ..., statuses: _Optional[_Iterable[_Union[StatusRange, _Mapping]]] = ...) -> None: ...

class Outlier(_message.Message):
    __slots__ = ("consecutive_errors", "success_rate", "min_requests", "ejection_ms", "max_ejection_ms", "max_ejected", "consecutive_gateway_errors")
    CONSECUTIVE_ERRORS_FIELD_NUMBER: _ClassVar[int]
    SUCCESS_RATE_FIELD_NUMBER: _ClassVar[int]
    MIN_REQUESTS_FIELD_NUMBER: _ClassVar[int]
    EJECTION_MS_FIELD_NUMBER: _ClassVar[int]
    MAX_EJECTION_MS_FIELD_NUMBER: _ClassVar[int]
    MAX_EJECTED_FIELD_NUMBER: _ClassVar[int]
    CONSECUTIVE_GATEWAY_ERRORS_FIELD_NUMBER: _ClassVar[int]
    consecutive_errors: int
    success_rate: int
    min_requests: int
    ejection_ms: int
    max_ejection_ms: int
    max_ejected: int
    consecutive_gateway_errors: int
    def __init__(self, consecutive_errors: _Optional[int] = ..., success_rate: _Optional[int] = ..., min_requests: _Optional[int] = ..., ejection_ms: _Optional[int] = ..., max_ejection_ms: _Optional[int] = ..., max_ejected: _Optional[int] = ..., consecutive_gateway_errors: _Optional[int] = ...) -> None: ...

class ErrorRate(_message.Message):
    __slots__ = ("failures", "min_requests", "open_ms")
    FAILURES_FIELD_NUMBER: _ClassVar[int]
    MIN_REQUESTS_FIELD_NUMBER: _ClassVar[int]
    OPEN_MS_FIELD_NUMBER: _ClassVar[int]
    failures: int
    min_requests: int
    open_ms: int
    def __init__(self, failures: _Optional[int] = ..., min_requests: _Optional[int] = ..., open_ms: _Optional[int] = ...) -> None: ...

class BalanceSettings(_message.Message):
    __slots__ = ("choices", "min_ring_size", "max_ring_size", "hash", "sticky", "slow_start_ms", "panic_threshold")
    CHOICES_FIELD_NUMBER: _ClassVar[int]
    MIN_RING_SIZE_FIELD_NUMBER: _ClassVar[int]
    MAX_RING_SIZE_FIELD_NUMBER: _ClassVar[int]
    HASH_FIELD_NUMBER: _ClassVar[int]
    STICKY_FIELD_NUMBER: _ClassVar[int]
    SLOW_START_MS_FIELD_NUMBER: _ClassVar[int]
    PANIC_THRESHOLD_FIELD_NUMBER: _ClassVar[int]
    choices: int
    min_ring_size: int
    max_ring_size: int
    hash: _containers.RepeatedCompositeFieldContainer[HashKey]
    sticky: Cookie
    slow_start_ms: int
    panic_threshold: int
    def __init__(self, choices: _Optional[int] = ..., min_ring_size: _Optional[int] = ..., max_ring_size: _Optional[int] = ..., hash: _Optional[_Iterable[_Union[HashKey, _Mapping]]] = ..., sticky: _Optional[_Union[Cookie, _Mapping]] = ..., slow_start_ms: _Optional[int] = ..., panic_threshold: _Optional[int] = ...) -> None: ...

class HashKey(_message.Message):
    __slots__ = ("header", "cookie", "query", "address", "terminal")
    HEADER_FIELD_NUMBER: _ClassVar[int]
    COOKIE_FIELD_NUMBER: _ClassVar[int]
    QUERY_FIELD_NUMBER: _ClassVar[int]
    ADDRESS_FIELD_NUMBER: _ClassVar[int]
    TERMINAL_FIELD_NUMBER: _ClassVar[int]
    header: str
    cookie: Cookie
    query: str
    address: bool
    terminal: bool
    def __init__(self, header: _Optional[str] = ..., cookie: _Optional[_Union[Cookie, _Mapping]] = ..., query: _Optional[str] = ..., address: _Optional[bool] = ..., terminal: _Optional[bool] = ...) -> None: ...

class Cookie(_message.Message):
    __slots__ = ("name", "path", "ttl_ms")
    NAME_FIELD_NUMBER: _ClassVar[int]
    PATH_FIELD_NUMBER: _ClassVar[int]
    TTL_MS_FIELD_NUMBER: _ClassVar[int]
    name: str
    path: str
    ttl_ms: int
    def __init__(self, name: _Optional[str] = ..., path: _Optional[str] = ..., ttl_ms: _Optional[int] = ...) -> None: ...

class FailureStatuses(_message.Message):
    __slots__ = ("http", "grpc")
    HTTP_FIELD_NUMBER: _ClassVar[int]
    GRPC_FIELD_NUMBER: _ClassVar[int]
    http: _containers.RepeatedCompositeFieldContainer[StatusRange]
    grpc: _containers.RepeatedScalarFieldContainer[int]
    def __init__(self, http: _Optional[_Iterable[_Union[StatusRange, _Mapping]]] = ..., grpc: _Optional[_Iterable[int]] = ...) -> None: ...

class ClusterLimits(_message.Message):
    __slots__ = ("max_connections", "max_pending", "max_requests", "max_retries", "per_endpoint")
    MAX_CONNECTIONS_FIELD_NUMBER: _ClassVar[int]
    MAX_PENDING_FIELD_NUMBER: _ClassVar[int]
    MAX_REQUESTS_FIELD_NUMBER: _ClassVar[int]
    MAX_RETRIES_FIELD_NUMBER: _ClassVar[int]
    PER_ENDPOINT_FIELD_NUMBER: _ClassVar[int]
    max_connections: int
    max_pending: int
    max_requests: int
    max_retries: int
    per_endpoint: EndpointLimits
    def __init__(self, max_connections: _Optional[int] = ..., max_pending: _Optional[int] = ..., max_requests: _Optional[int] = ..., max_retries: _Optional[int] = ..., per_endpoint: _Optional[_Union[EndpointLimits, _Mapping]] = ...) -> None: ...

class EndpointLimits(_message.Message):
    __slots__ = ("max_connections", "max_pending", "max_requests", "max_retries")
    MAX_CONNECTIONS_FIELD_NUMBER: _ClassVar[int]
    MAX_PENDING_FIELD_NUMBER: _ClassVar[int]
    MAX_REQUESTS_FIELD_NUMBER: _ClassVar[int]
    MAX_RETRIES_FIELD_NUMBER: _ClassVar[int]
    max_connections: int
    max_pending: int
    max_requests: int
    max_retries: int
    def __init__(self, max_connections: _Optional[int] = ..., max_pending: _Optional[int] = ..., max_requests: _Optional[int] = ..., max_retries: _Optional[int] = ...) -> None: ...

class ClientTls(_message.Message):
    __slots__ = ("identity", "trust_bundle", "spiffe_ids", "server_name")
    IDENTITY_FIELD_NUMBER: _ClassVar[int]
    TRUST_BUNDLE_FIELD_NUMBER: _ClassVar[int]
    SPIFFE_IDS_FIELD_NUMBER: _ClassVar[int]
    SERVER_NAME_FIELD_NUMBER: _ClassVar[int]
    identity: str
    trust_bundle: str
    spiffe_ids: _containers.RepeatedScalarFieldContainer[str]
    server_name: str
    def __init__(self, identity: _Optional[str] = ..., trust_bundle: _Optional[str] = ..., spiffe_ids: _Optional[_Iterable[str]] = ..., server_name: _Optional[str] = ...) -> None: ...
