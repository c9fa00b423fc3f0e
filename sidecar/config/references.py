"""What only several documents together can show: names that another document should have."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from itertools import chain, islice
from typing import NamedTuple

from sidecar.config.consumers import Clash, clashes
from sidecar.config.document import Document, Key
from sidecar.config.model import Gateway, Service
from sidecar.config.model.authenticate import Methods
from sidecar.config.source import MOST_PROBLEMS, Source
from sidecar.config.spelling import did_you_mean, listed
from sidecar.config.tree import Path
from sidecar.errors import Problem

# By name; None stands for a service whose document exists but cannot be read, so nothing is known about its subsets.
Services = Mapping[str, Service | None]


def services_of(documents: Mapping[Key, Document], keys: Iterable[Key]) -> dict[str, Service | None]:
    """Every service that `keys` name, good or not."""
    names = {key.name for key in keys if key.kind == "service"}
    known: dict[str, Service | None] = dict.fromkeys(sorted(names))
    for key, document in documents.items():
        if isinstance(document.model, Service):
            known[key.name] = document.model
    return known


class Known(NamedTuple):
    """What documents may refer to."""

    services: Services
    consumers: frozenset[str] = frozenset()
    # Of consumers, by document.
    clashes: Mapping[Key, list[Clash]] = {}


def known_of(documents: Mapping[Key, Document], keys: Iterable[Key]) -> Known:
    """All that `keys` name, good or not."""
    keys = tuple(keys)
    names = frozenset(key.name for key in (*keys, *documents) if key.kind == "consumer")
    return Known(services_of(documents, keys), names, clashes(documents))


class _Dangling(NamedTuple):
    path: Path
    message: str
    expected: str
    hint: str


def dangling(document: Document, known: Known, *, discovered: bool = False) -> tuple[Problem, ...]:
    """The references of `document` that lead nowhere, and what another document has, too.

    `discovered`: services may exist without a document.
    """
    found = list(islice(_references(document, known, discovered), MOST_PROBLEMS))
    if not found:
        return ()
    # A document keeps few of its places: there is a problem, so its text is read again for all of them.
    from sidecar.config.marked import parse

    source = Source(document.place, document.text)
    tree = parse(source)
    return tuple(
        replace(source.problem(tree.mark(path), message, expected=expected, hint=hint), index=document.index)
        for path, message, expected, hint in found
    )


def _references(document: Document, known: Known, discovered: bool) -> Iterator[_Dangling]:
    if isinstance(document.model, Service) and not discovered:
        return _of_service(document.model, known.services)
    if isinstance(document.model, Gateway):
        return chain(
            _of_gateway(document.model, known.services, discovered), _of_methods(document.model, known.consumers)
        )
    clashes = known.clashes.get(document.key, ())
    return (_Dangling(path, message, "one of its own", "") for path, message in clashes)


def _of_methods(gateway: Gateway, consumers: Iterable[str]) -> Iterator[_Dangling]:
    places: list[tuple[Path, Methods]] = [(("authenticate",), gateway.authenticate)]
    places += [
        (("routes", index, "authenticate"), route.authenticate or ()) for index, route in enumerate(gateway.routes)
    ]
    for place, methods in places:
        for index, method in enumerate(methods):
            if method.anonymous is not None and method.anonymous not in consumers:
                message = f"there is no consumer `{method.anonymous}`"
                hint = did_you_mean(method.anonymous, consumers) or f"add consumers/{method.anonymous}.yaml"
                yield _Dangling((*place, index, "anonymous"), message, listed(consumers), hint)


def _of_service(service: Service, services: Services) -> Iterator[_Dangling]:
    for index, upstream in enumerate(service.upstreams):
        for field in ("query", "datacenter"):
            if getattr(upstream, field) is not None:
                message = f"`{field}` is looked up in Consul, and here all comes from a directory of documents"
                yield _Dangling(("upstreams", index, field), message, "a service of this directory", "")
        if upstream.service is not None and upstream.datacenter is None and upstream.service not in services:
            yield _unknown_service(("upstreams", index, "service"), upstream.service, services)
    for index, other in enumerate(service.failover or ()):
        path = ("failover", index)
        if other.datacenter is not None:
            message = "`datacenter` is looked up in Consul, and here all comes from a directory of documents"
            yield _Dangling((*path, "datacenter"), message, "a service of this directory, or a subset", "")
        elif other.service is not None:
            yield from _of_reference(path, other.service, other.subset, services)

    mirror = service.mirror
    if mirror is not None and mirror.to.service is not None:
        yield from _of_target(("mirror", "to"), mirror.to.service, mirror.to.subset, services)


def _of_gateway(gateway: Gateway, services: Services, discovered: bool) -> Iterator[_Dangling]:
    for index, route in enumerate(gateway.routes):
        for path, target in route.targets():
            # Without a document, a resolver in Consul may have the subset.
            if target.service in services or not discovered:
                yield from _of_target(("routes", index, *path), target.service, target.subset, services)


def _of_target(path: Path, name: str, subset: str | None, services: Services) -> Iterator[_Dangling]:
    """A service that takes requests."""
    service = services.get(name)
    if service is not None and service.protocol == "tcp":
        message = f"service `{name}` is of protocol tcp, and this is about requests"
        yield _Dangling((*path, "service"), message, "a service of protocol http, http2 or grpc", "")
        return
    yield from _of_reference(path, name, subset, services)


def _of_reference(path: Path, name: str, subset: str | None, services: Services) -> Iterator[_Dangling]:
    """A service that must be there, and a subset of it."""
    if name not in services:
        yield _unknown_service((*path, "service"), name, services)
        return
    service = services[name]
    if subset is None or service is None or subset in service.subsets:
        return
    message = f"service `{name}` has no subset `{subset}`"
    hint = did_you_mean(subset, service.subsets)
    yield _Dangling((*path, "subset"), message, listed(service.subsets), hint)


def _unknown_service(path: Path, name: str, services: Services) -> _Dangling:
    hint = did_you_mean(name, services) or f"add services/{name}.yaml"
    return _Dangling(path, f"there is no service `{name}`", listed(services), hint)
