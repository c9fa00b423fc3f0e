"""Policies for web pages of other origins."""

from __future__ import annotations

from datetime import timedelta

from sidecar.config.model.cors import Cors
from sidecar.wire import snapshot_pb2 as wire

# What a gRPC-Web client sends and reads beside the metadata of its calls
# (https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-WEB.md, and the headers of github.com/grpc/grpc-web).
_SENT = ("content-type", "grpc-timeout", "x-grpc-web", "x-user-agent")
_READ = ("grpc-message", "grpc-status", "grpc-status-details-bin")


def policy(cors: Cors) -> wire.Cors:
    """As the data plane reads it: nothing is added there."""
    return wire.Cors(
        allow_origins=cors.allow_origins,
        allow_methods=cors.allow_methods,
        allow_headers=dict.fromkeys((*cors.allow_headers, *_SENT)),
        expose_headers=dict.fromkeys((*cors.expose_headers, *_READ)),
        max_age=None if cors.max_age is None else cors.max_age // timedelta(seconds=1),
        allow_credentials=cors.allow_credentials,
    )


def preflight(match: wire.Match) -> wire.Match:
    """The preflights of what `match` takes: without headers and cookies of such a request, with its method's name."""
    asked = wire.ValueMatch(name="access-control-request-method", present=True)
    if match.methods:
        asked = wire.ValueMatch(name=asked.name, regex="|".join(_quoted(method) for method in match.methods))
    found = wire.Match(
        hosts=match.hosts,
        methods=["OPTIONS"],
        headers=[wire.ValueMatch(name="origin", present=True), asked],
        query=match.query,
        sources=match.sources,
        path_regexes=match.path_regexes,
    )
    if match.HasField("path"):
        found.path.CopyFrom(match.path)
    return found


def _quoted(method: str) -> str:
    """A token in a regular expression; RFC 9110 lets it hold `+` and the like."""
    return "".join(character if character.isalnum() else f"\\x{ord(character):02x}" for character in method)
