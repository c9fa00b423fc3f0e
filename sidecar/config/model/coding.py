"""How content is coded on its way: answers that are compressed, requests that are decompressed."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from sidecar.config.model.base import Model, Size, refusal, size_between
from sidecar.config.model.entry import ContentType

Encoding = Literal["zstd", "br", "gzip"]

# What Envoy and nginx compress, or are told to: text in any form. Images, sound and archives are compressed already.
_TEXT = (
    "text/*",
    "application/json",
    "application/problem+json",
    "application/ld+json",
    "application/x-ndjson",
    "application/javascript",
    "application/xml",
    "application/xhtml+xml",
    "application/rss+xml",
    "application/atom+xml",
    "application/wasm",
    "image/svg+xml",
)


def _check_encodings(encodings: tuple[Encoding, ...]) -> tuple[Encoding, ...]:
    if len(set(encodings)) < len(encodings):
        raise refusal("an encoding stands here twice", expected="each of `zstd`, `br`, `gzip` once at most")
    return encodings


def _check_types(types: tuple[str, ...]) -> tuple[str, ...]:
    if not types:
        raise refusal("an empty list compresses nothing", hint="`encodings: []` says so")
    return types


class Compress(Model):
    """Which answers are compressed, for clients that say by Accept-Encoding that they take that."""

    encodings: Annotated[tuple[Encoding, ...], AfterValidator(_check_encodings)] = Field(
        default=("zstd", "br", "gzip"),
        description="Of those that a client likes best the first of these. []: answers go on as they are.",
    )
    content_types: Annotated[tuple[ContentType, ...], Field(max_length=64), AfterValidator(_check_types)] = Field(
        default=_TEXT, description="Answers of any of these types: text/html, image/*. Left out: all that is text."
    )
    # Traefik's default (minResponseBodyBytes).
    min_size: Annotated[Size, size_between(1, 1 << 30)] = Field(
        default=1 << 10, description="Content that tells its length is compressed from so many bytes on, other always."
    )


class Decompress(Model):
    """Requests whose Content-Encoding is zstd, br or gzip go on as what they stand for; others get 415."""

    # Ten times what nginx lets come in (client_max_body_size): it was compressed to less than that.
    max_size: Annotated[Size, size_between(1, 1 << 40)] = Field(
        default=10 << 20, description="Bytes that a request may become; then it gets 413."
    )
    # Envoy's default (Gzip decompressor, max_inflate_ratio).
    max_ratio: int = Field(
        default=100, ge=1, le=100_000, description="So many times its size, beyond the first 64 KiB; then it gets 413."
    )
