"""How many files and connections the process may have open."""

import resource
from collections.abc import Iterator
from contextlib import contextmanager, suppress

# The soft limit that we were started with.
_GIVEN = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
# What the data plane can count; more nobody has.
_MOST = (1 << 31) - 1


def raise_limit() -> int:
    """Take as many descriptors as we may have; returns how many.

    The usual soft limit is 1024, for programs that wait by select(2): few for a gateway's clients and their endpoints.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    # Where the hard limit is none, the kernel has one of its own, and says no.
    with suppress(OSError, ValueError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
        soft = hard
    return _MOST if soft == resource.RLIM_INFINITY else min(soft, _MOST)


@contextmanager
def as_given() -> Iterator[None]:
    """Programs that are started in the block have the limit that we were started with."""
    raised = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (_GIVEN, raised[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, raised)
