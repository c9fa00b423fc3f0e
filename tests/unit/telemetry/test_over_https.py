"""OTLP over HTTP with TLS: certificates of one's own, from files that may be replaced."""

import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import trustme
from aiohttp import ClientSession, web

from sidecar.telemetry.attempt import ExportError
from sidecar.telemetry.export import Exporter
from sidecar.telemetry.otlp import Target, Tls
from tests.unit.telemetry.receiver import Receiver, request


@asynccontextmanager
async def receiver(authority: trustme.CA) -> AsyncIterator[tuple[Receiver, ClientSession]]:
    """One that wants a certificate of `authority`."""
    received = Receiver()
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.verify_mode = ssl.CERT_REQUIRED
    authority.issue_cert("localhost").configure_cert(context)
    authority.configure_trust(context)
    application = web.Application()
    application.router.add_route("*", "/{path:.*}", received.handle)
    runner = web.AppRunner(application, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0, ssl_context=context).start()
    received.url = f"https://localhost:{runner.addresses[0][1]}/v1/traces"
    async with ClientSession() as session:
        yield received, session
    await runner.cleanup()


def write(authority: trustme.CA, tls: Tls) -> None:
    client = authority.issue_cert("client")
    authority.cert_pem.write_to_path(tls.certificate)
    client.cert_chain_pems[0].write_to_path(tls.client_certificate)
    client.private_key_pem.write_to_path(tls.client_key)


async def test_a_certificate_is_shown_and_files_that_are_replaced_are_read_again(tmp_path: Path) -> None:
    tls = Tls(*(str(tmp_path / name) for name in ("roots.pem", "client.pem", "client.key")))
    ours, others = trustme.CA(), trustme.CA()
    write(others, tls)
    async with receiver(ours) as (received, session):
        exporter = Exporter(session, Target(received.url, {}, 5.0, gzip=False, tls=tls))
        with pytest.raises(ExportError, match="certificate"):
            await exporter.send(request(1), 0.2)
        assert received.bodies == []

        write(ours, tls)
        await exporter.send(request(2), 5)

    assert received.bodies == [request(2)]


async def test_a_file_that_cannot_be_used_is_named(tmp_path: Path) -> None:
    broken = tmp_path / "broken.pem"
    broken.write_text("no certificate")
    for file in (broken, tmp_path / "gone.pem"):
        target = Target("https://localhost:1/", {}, 5.0, gzip=False, tls=Tls(str(file)))
        async with ClientSession() as session:
            with pytest.raises(ExportError, match=file.name):
                await Exporter(session, target).send(b"", 1)
