"""What only several documents together can show: names that another document should have."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from sidecar.config.document import Document
from sidecar.config.load import problem_at
from sidecar.config.model import Gateway, Service
from sidecar.config.model.gateway import ServiceTarget
from sidecar.config.spelling import did_you_mean, listed
from sidecar.config.tree import Path
from sidecar.errors import Problem

# By name; None stands for a service whose document exists but cannot be read, so nothing is known about its subsets.
Services = Mapping[str, Service | None]


def dangling(document: Document, services: Services) -> tuple[Problem, ...]:
    """The references of `document` that lead nowhere."""
    if isinstance(document.model, Service):
        return tuple(_of_service(document, document.model, services))
    if isinstance(document.model, Gateway):
        return tuple(_of_gateway(document, document.model, services))
    return ()


def _of_service(document: Document, service: Service, services: Services) -> Iterator[Problem]:
    for index, upstream in enumerate(service.upstreams):
        if upstream.service not in services:
            yield _unknown_service(document, ("upstreams", index, "service"), upstream.service, services)


def _of_gateway(document: Document, gateway: Gateway, services: Services) -> Iterator[Problem]:
    for index, route in enumerate(gateway.routes):
        for path, target in route.targets():
            yield from _of_target(document, ("routes", index, *path), target, services)


def _of_target(document: Document, path: Path, target: ServiceTarget, services: Services) -> Iterator[Problem]:
    if target.service not in services:
        yield _unknown_service(document, (*path, "service"), target.service, services)
        return
    service = services[target.service]
    if target.subset is None or service is None or target.subset in service.subsets:
        return
    yield problem_at(
        document,
        (*path, "subset"),
        f"service `{target.service}` has no subset `{target.subset}`",
        expected=listed(service.subsets),
        hint=did_you_mean(target.subset, service.subsets),
    )


def _unknown_service(document: Document, path: Path, name: str, services: Services) -> Problem:
    return problem_at(
        document,
        path,
        f"there is no service `{name}`",
        expected=listed(services),
        hint=did_you_mean(name, services) or f"add services/{name}.yaml",
    )
