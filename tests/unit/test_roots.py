"""The machine's root certificates are read by whoever needs them, and by nobody else."""

import ssl
import subprocess
import sys
from pathlib import Path

import pytest
import trustme

from sidecar import roots

IMPORTED = """
from sidecar import roots
{how}
    import aiohttp
import ssl
from aiohttp import connector
read = [context.cert_store_stats()["x509_ca"] for context in (connector._SSL_CONTEXT_VERIFIED, roots.context())]
print(read, ssl.create_default_context().verify_mode)
"""


@pytest.mark.parametrize(("how", "read"), [("with roots.unread():", [0, 1]), ("if True:", [1, 1])])
def test_what_is_imported_meanwhile_reads_none(tmp_path: Path, how: str, read: list[int]) -> None:
    file = tmp_path / "roots.pem"
    trustme.CA().cert_pem.write_to_path(file)
    environ = {"SSL_CERT_FILE": str(file), "SSL_CERT_DIR": str(tmp_path)}
    program = [sys.executable, "-c", IMPORTED.format(how=how)]
    told = subprocess.run(program, env=environ, capture_output=True, text=True, check=True).stdout

    assert told.strip() == f"{read} {ssl.CERT_REQUIRED}"


def test_a_context_that_read_none_trusts_nobody() -> None:
    with roots.unread():
        empty = ssl.create_default_context()
    assert (empty.cert_store_stats()["x509"], empty.verify_mode) == (0, ssl.CERT_REQUIRED)
