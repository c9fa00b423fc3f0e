"""Small documents in the form that a person writes them, and how a test reads them."""

from textwrap import dedent

from sidecar.config.document import Document, DocumentSet, Key
from sidecar.config.load import key_of, load
from sidecar.errors import ConfigError, Problem
from sidecar.world import World

ORDERS = """\
protocol: grpc
enabled: true
endpoints:
  - {address: 127.0.0.1:21001, meta: {version: "1"}}
  - {address: 127.0.0.1:21002, meta: {version: "2"}, weight: 3}
upstreams: [{service: inventory, port: 9191}]
subsets:
  v1: {where: 'meta.version == "1"'}
  v2: {where: 'meta.version == "2"'}
routes:
  - name: beta-testers
    match: {headers: {x-beta: "1"}}
    to: {subset: v2}
  - name: canary
    split: [{weight: 95, to: {subset: v1}}, {weight: 5, to: {subset: v2}}]
    timeout: 5s
    retry: {attempts: 3}
load_balancer: least_request
circuit_breaker: {max_requests: 1024, max_pending: 256}
"""

INVENTORY = """\
endpoints: [{address: 127.0.0.1:21003}]
"""

EDGE = """\
listeners:
  - {port: 8443, tls: {certificates: [{cert: edge.pem, key: edge.key}]}}
routes:
  - name: shop-api
    match: {host: shop.example.com, path: /api/*}
    rewrite: {path: /*}
    to: {service: orders}
"""

MESH = """\
trust_domain: shop.local
tracing: {enabled: true, ratio: 5%}
timeout: 3s
"""

SHOP = {
    "mesh.yaml": MESH,
    "services/orders.yaml": ORDERS,
    "services/inventory.yaml": INVENTORY,
    "gateways/edge.yaml": EDGE,
}


def problems_of(text: str, place: str = "services/orders.yaml") -> tuple[Problem, ...]:
    """What is wrong with a document; a test that expects problems fails when there are none."""
    try:
        load(place, dedent(text).encode())
    except ConfigError as error:
        return error.problems
    raise AssertionError(f"{place} was accepted")


def document_set(texts: dict[str, str]) -> DocumentSet:
    """What a source would say of these texts, by place."""
    documents: dict[Key, Document] = {}
    refusals: dict[str, tuple[Problem, ...]] = {}
    for place, text in texts.items():
        try:
            documents[key_of(place)] = load(place, dedent(text).encode())
        except ConfigError as error:
            refusals[place] = error.problems
    return DocumentSet(documents, refusals, frozenset(key_of(place) for place in refusals))


def world_of(texts: dict[str, str]) -> World:
    """A world of documents that are all good."""
    world = World().apply(document_set(texts))
    assert world.refusals == {}
    return world
