"""Certificate files that change under a running gateway: what they hold is shown once it is whole, and never half."""

import asyncio
import logging
import ssl
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
import trustme

from sidecar.config.model.tls import Certificate
from sidecar.errors import IdentityError
from sidecar.identity.key_material import KeyMaterial, KeyReader
from sidecar.snapshot import KeyFiles

FILES = KeyFiles({"edge/0": Certificate(cert="edge.pem", key="edge.key")}, {"edge-clients/0": "clients.pem"})


class Files:
    """The files of one gateway."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.authority = trustme.CA()
        (directory / "clients.pem").write_bytes(self.authority.cert_pem.bytes())
        self.certificate(self.issue())

    def issue(self) -> trustme.LeafCert:
        return self.authority.issue_cert("shop.example.com")

    def certificate(self, leaf: trustme.LeafCert) -> None:
        self.chain(leaf)
        self.key(leaf)

    def chain(self, leaf: trustme.LeafCert) -> None:
        (self.directory / "edge.pem").write_bytes(leaf.cert_chain_pems[0].bytes())

    def key(self, leaf: trustme.LeafCert) -> None:
        (self.directory / "edge.key").write_bytes(leaf.private_key_pem.bytes())


@pytest.fixture
def files(tmp_path: Path) -> Files:
    return Files(tmp_path)


async def followed(files: Files, *steps: Callable[[], None], wanted: KeyFiles = FILES) -> list[KeyMaterial]:
    """What is installed while each step is followed by as many looks as it may need."""
    installed: list[KeyMaterial] = []
    looks: asyncio.Queue[asyncio.Event] = asyncio.Queue()

    async def sleep(_: float) -> None:
        go = asyncio.Event()
        await looks.put(go)
        await go.wait()

    def wake(go: asyncio.Event) -> Awaitable[asyncio.Event]:
        go.set()
        return looks.get()

    reader = KeyReader(files.directory, sleep)
    reader.read(wanted)
    following = asyncio.create_task(reader.follow(installed.append))
    go = await looks.get()
    for step in steps:
        step()
        for _ in range(3):
            go = await wake(go)
    following.cancel()
    await asyncio.gather(following, return_exceptions=True)
    return installed


def test_files_are_read_again_only_when_they_were_written_anew(files: Files) -> None:
    reader = KeyReader(files.directory)
    first = reader.read(FILES)

    assert reader.read(FILES) is first
    assert (list(first.identities), list(first.roots)) == (["edge/0"], ["edge-clients/0"])
    files.certificate(files.issue())
    assert reader.read(FILES) != first


def test_without_files_nothing_is_read(files: Files) -> None:
    assert KeyReader(files.directory).read(KeyFiles()).names() == frozenset()


async def test_a_new_pair_is_shown(files: Files) -> None:
    leaf = files.issue()

    (installed,) = await followed(files, lambda: files.certificate(leaf), lambda: None)

    chain = list(installed.identities["edge/0"].certificate_chain)
    assert chain == [ssl.PEM_cert_to_DER_cert(leaf.cert_chain_pems[0].bytes().decode())]


async def test_half_a_pair_is_told_once_and_not_shown(files: Files, caplog: pytest.LogCaptureFixture) -> None:
    leaf = files.issue()

    with caplog.at_level(logging.WARNING):
        installed = await followed(files, lambda: files.chain(leaf), lambda: None)
        assert installed == []
        assert [record.levelname for record in caplog.records] == ["WARNING"]
        assert "edge.key is not the key of the first certificate" in caplog.text

    installed = await followed(Files(files.directory), lambda: files.chain(leaf), lambda: files.key(leaf))
    assert len(installed) == 1


async def test_a_file_that_is_away_for_a_while_takes_nothing_away(
    files: Files, caplog: pytest.LogCaptureFixture
) -> None:
    content = (files.directory / "edge.pem").read_bytes()

    def back() -> None:
        (files.directory / "edge.pem").write_bytes(content)

    installed = await followed(files, (files.directory / "edge.pem").unlink, back)

    assert "edge.pem cannot be read" in caplog.text
    assert len(installed) == 1


def test_what_a_document_names_and_is_not_there_is_refused(files: Files) -> None:
    reader = KeyReader(files.directory)
    held = reader.read(FILES)

    with pytest.raises(IdentityError, match=r"other.pem cannot be read"):
        reader.read(KeyFiles(FILES.pairs, {"edge-clients/0": "other.pem"}))
    assert reader.read(FILES) is held


def test_a_list_of_addresses_is_followed_and_a_wrong_one_changes_nothing(
    files: Files, caplog: pytest.LogCaptureFixture
) -> None:
    listed = files.directory / "blocked.txt"
    listed.write_text("10.0.0.0/8\n")
    lists = KeyFiles(lists=frozenset({"blocked.txt"}))

    with caplog.at_level(logging.WARNING):
        installed = asyncio.run(
            followed(
                files,
                lambda: None,
                lambda: _write(listed, "10.0.0.1/8 # no network\n"),
                lambda: _write(listed, "192.0.2.0/24\n2001:db8::/32\n"),
                wanted=lists,
            )
        )

    assert [bytes(held.lists["blocked.txt"].networks) for held in installed] == [b"192.0.2.0/24\n2001:db8::/32"]
    assert "blocked.txt:1: this is not a network: `10.0.0.1/8`" in caplog.text


def _write(path: Path, text: str) -> None:
    path.write_text(text)
