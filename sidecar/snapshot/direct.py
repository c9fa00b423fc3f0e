"""What a gateway answers by itself."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import timedelta

from sidecar.config.model.direct import DirectResponse, ErrorPage, Redirect
from sidecar.config.model.gateway import GatewayRoute
from sidecar.config.model.https import Hsts, HttpsRedirect
from sidecar.wire import snapshot_pb2 as wire

_TEXT = {"content-type": "text/plain; charset=utf-8"}


def direct(route: GatewayRoute) -> wire.Route | None:
    """What of a route answers its requests; None: it leads to services."""
    if route.redirect is not None:
        return wire.Route(redirect=_redirect(route.redirect))
    if route.respond is not None:
        return wire.Route(respond=_respond(route.respond))
    return None


def _redirect(said: Redirect) -> wire.Redirect:
    made = wire.Redirect(
        status=said.status, scheme=said.scheme, host=said.host, port=said.port, strip_query=said.strip_query
    )
    if said.path is not None and said.path.star:
        made.prefix = said.path.base
    elif said.path is not None:
        made.whole = said.path.base
    return made


def _respond(said: DirectResponse) -> wire.DirectResponse:
    headers = {**(_TEXT if said.body else {}), **said.headers}
    return wire.DirectResponse(
        status=said.status,
        headers=[wire.DirectResponse.Field(name=name, value=value) for name, value in headers.items()],
        body=said.body.encode(),
    )


def error_pages(pages: Iterable[ErrorPage]) -> Iterator[wire.ErrorPage]:
    """In their order."""
    for page in pages:
        statuses = [wire.StatusRange(first=first, last=last) for first, last in page.statuses]
        yield wire.ErrorPage(statuses=statuses, content_type=page.content_type, body=page.body.encode())


def https_redirect(said: HttpsRedirect | None) -> wire.HttpsRedirect | None:
    """None: requests in the clear are taken."""
    return None if said is None else wire.HttpsRedirect(status=said.status, port=said.port)


def hsts(said: Hsts | None) -> str:
    """The field's value (RFC 6797 section 6.1); "": none."""
    if said is None:
        return ""
    words = [f"max-age={said.max_age // timedelta(seconds=1)}"]
    words += ["includeSubDomains"] if said.include_subdomains else []
    words += ["preload"] if said.preload else []
    return "; ".join(words)
