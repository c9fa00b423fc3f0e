"""The instances of this host, and what their admin servers answer."""

import json
import os
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sidecar.rundir import Instance

# Seconds for an answer of an admin server on this host.
ANSWER_WITHIN = 3.0


def running() -> "list[Instance]":
    """Those that are alive. Raises SidecarError when there is none."""
    from sidecar.errors import SidecarError
    from sidecar.rundir import RunDirectory, default_directory

    directory = default_directory(os.environ)
    found = list(RunDirectory(directory).instances())
    if not found:
        raise SidecarError(f"no sidecar or gateway of this user runs here: there is none in {directory}")
    return found


def get(admin: str, path: str, within: float = ANSWER_WITHIN) -> Any:
    """A JSON answer, whatever its status: an instance that is not ready says so with 503.

    Raises OSError, ValueError or HTTPException when there is none.
    """
    from http.client import HTTPConnection

    connection = HTTPConnection(admin, timeout=within)
    try:
        connection.request("GET", path)
        return json.load(connection.getresponse())
    finally:
        connection.close()
