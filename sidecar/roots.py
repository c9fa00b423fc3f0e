"""The root certificates of this machine, read when a connection needs them.

aiohttp reads them twice when it is imported, for contexts of its own: a tenth of the CPU of a start and 2 MiB of
memory, and most sidecars never speak TLS to a collector. So its contexts are left empty, and trust nobody; ours is
passed wherever the machine's roots are meant.
"""

from __future__ import annotations

import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache


@contextmanager
def unread() -> Iterator[None]:
    """While it lasts, contexts that are made read none."""
    context = ssl.SSLContext
    kept = context.load_default_certs, context.set_default_verify_paths
    context.load_default_certs = lambda self, purpose=None: None  # type: ignore[method-assign]
    context.set_default_verify_paths = lambda self: None  # type: ignore[method-assign]
    try:
        yield
    finally:
        context.load_default_certs, context.set_default_verify_paths = kept  # type: ignore[method-assign]


@cache
def context() -> ssl.SSLContext:
    """For a client that trusts whom the machine trusts."""
    return ssl.create_default_context()
