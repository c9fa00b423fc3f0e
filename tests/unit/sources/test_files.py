"""A directory of documents: read as it is, and read again when it changes."""

import asyncio
import logging
import os
from collections.abc import AsyncIterator
from contextlib import aclosing
from pathlib import Path

import pytest

from sidecar.config.document import DocumentSet, Key
from sidecar.errors import SourceError
from sidecar.sources.files import FileSource
from tests.unit.documents import INVENTORY, SHOP

# Seconds; a watch that has not answered by then is broken.
PATIENCE = 10


def write(directory: Path, texts: dict[str, str]) -> None:
    for place, text in texts.items():
        file = directory / place
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    directory = tmp_path / "config"
    write(directory, SHOP)
    return directory


def test_a_directory_is_read(directory: Path) -> None:
    documents = FileSource(directory).read()

    assert sorted(document.place for document in documents.documents.values()) == sorted(SHOP)
    assert documents.refusals == {}


def test_what_is_no_document_is_left_alone(directory: Path) -> None:
    write(directory, dict.fromkeys(("README.md", "edge.pem", ".hidden.yaml", "services/orders.yaml~"), "x"))
    write(directory, {"services/.orders.yaml.swp": "x", ".git/config.yaml": "x", "certs/edge.pem": "x"})

    assert FileSource(directory).read().refusals == {}


@pytest.mark.parametrize(
    ("place", "message"),
    [
        ("services/web.yaml", "unknown field `x`"),
        ("services/web.yml", "a document ends with .yaml or .json"),
        ("service/web.yaml", "this is not a place of a document"),
        ("plugins/auth.yaml", "documents under `plugins` are not supported yet"),
        ("services/inventory.json", "this document is also services/inventory.yaml"),
    ],
)
def test_what_looks_like_a_document_and_is_none_is_refused(directory: Path, place: str, message: str) -> None:
    write(directory, {place: '{"x": 1}' if place.endswith("web.yaml") else "{}"})
    documents = FileSource(directory).read()

    if place == "services/inventory.json":
        # The first of the two in the order of their names serves.
        place, message = "services/inventory.yaml", "this document is also services/inventory.json"
    assert [problem.message for problem in documents.refusals[place]] == [message]
    assert len(documents.refusals) == 1


def test_a_refused_document_is_named_so_that_references_to_it_are_known(directory: Path) -> None:
    write(directory, {"services/orders.yaml": "protcol: grpc"})
    documents = FileSource(directory).read()

    assert documents.refused == {Key("service", "orders")}
    assert Key("service", "orders") not in documents.documents


def test_a_file_that_did_not_change_is_not_parsed_again(directory: Path) -> None:
    source = FileSource(directory)
    before = source.read().documents
    write(directory, {"services/inventory.yaml": "protocol: http2"})
    after = source.read().documents

    assert after[Key("service", "orders")] is before[Key("service", "orders")]
    assert after[Key("service", "inventory")] != before[Key("service", "inventory")]


def test_a_file_that_cannot_be_read_is_refused_alone(directory: Path) -> None:
    (directory / "services/web.yaml").symlink_to(directory / "nowhere")
    (directory / "services/folder").mkdir()
    os.mkfifo(directory / "services/pipe.yaml")
    documents = FileSource(directory).read()

    assert {place: problems[0].message for place, problems in documents.refusals.items()} == {
        "services/folder": "the file cannot be read: Is a directory",
        "services/pipe.yaml": "the file cannot be read: it is not a regular file",
        "services/web.yaml": "the file cannot be read: No such file or directory",
    }
    assert len(documents.documents) == len(SHOP)


def test_a_directory_that_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="nowhere cannot be read: No such file or directory; give an existing"):
        FileSource(tmp_path / "nowhere").read()


def test_a_file_instead_of_a_directory_is_told(directory: Path) -> None:
    with pytest.raises(SourceError, match="Not a directory"):
        FileSource(directory / "mesh.yaml").read()


# --- the watch


async def following(updates: AsyncIterator[DocumentSet]) -> DocumentSet:
    async with asyncio.timeout(PATIENCE):
        return await anext(updates)


def move_away(directory: Path) -> None:
    directory.rename(directory.with_name("away"))


def services_of(documents: DocumentSet) -> list[str]:
    return sorted(key.name for key in documents.documents if key.kind == "service")


async def test_a_watch_begins_with_what_is_there_and_tells_every_change(directory: Path) -> None:
    async with aclosing(FileSource(directory).watch()) as updates:
        assert services_of(await following(updates)) == ["inventory", "orders"]

        write(directory, {"services/web.yaml": INVENTORY})
        assert services_of(await following(updates)) == ["inventory", "orders", "web"]

        (directory / "services/web.yaml").unlink()
        assert services_of(await following(updates)) == ["inventory", "orders"]


async def test_an_atomic_replacement_is_told(directory: Path) -> None:
    async with aclosing(FileSource(directory).watch()) as updates:
        before = await following(updates)
        write(directory, {"services/.inventory.tmp": "protocol: http2"})
        (directory / "services/.inventory.tmp").rename(directory / "services/inventory.yaml")
        after = await following(updates)

    key = Key("service", "inventory")
    assert before.documents[key].model != after.documents[key].model


async def test_a_broken_document_and_its_repair_are_told(directory: Path) -> None:
    async with aclosing(FileSource(directory).watch()) as updates:
        await following(updates)
        write(directory, {"services/inventory.yaml": "protcol: http"})
        assert list((await following(updates)).refusals) == ["services/inventory.yaml"]

        write(directory, {"services/inventory.yaml": "protocol: http"})
        assert (await following(updates)).refusals == {}


async def test_a_change_that_changes_no_document_is_not_told(directory: Path) -> None:
    async with aclosing(FileSource(directory).watch()) as updates:
        await following(updates)
        write(directory, {"README.md": "notes"})
        write(directory, {"services/inventory.yaml": INVENTORY})
        write(directory, {"services/web.yaml": INVENTORY})

        assert services_of(await following(updates)) == ["inventory", "orders", "web"]


async def test_a_change_is_told_well_below_200_ms(directory: Path) -> None:
    loop = asyncio.get_running_loop()
    took = []
    async with aclosing(FileSource(directory).watch()) as updates:
        await following(updates)
        for attempt in range(5):
            write(directory, {"services/inventory.yaml": f"timeout: {attempt + 1}s"})
            began = loop.time()
            await following(updates)
            took.append(loop.time() - began)

    # The median: a busy machine may hold up one of them.
    assert sorted(took)[2] < 0.15


async def test_while_the_directory_is_away_the_last_good_serves(
    directory: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with aclosing(FileSource(directory).watch()) as updates:
        await following(updates)
        move_away(directory)
        waiting = asyncio.ensure_future(anext(updates))
        async with asyncio.timeout(PATIENCE):
            while not caplog.records:
                await asyncio.sleep(0.02)
        assert "keeps serving" in caplog.text
        assert not waiting.done()

        write(directory, {"services/web.yaml": INVENTORY})
        async with asyncio.timeout(PATIENCE):
            documents = await waiting

    assert services_of(documents) == ["web"]
    assert [record.levelno for record in caplog.records] == [logging.WARNING]


async def test_a_directory_that_is_a_link_is_followed_when_the_link_is_switched(tmp_path: Path) -> None:
    write(tmp_path / "one", {"services/a.yaml": INVENTORY})
    write(tmp_path / "two", {"services/b.yaml": INVENTORY})
    current = tmp_path / "current"
    current.symlink_to("one")
    async with aclosing(FileSource(current).watch()) as updates:
        assert services_of(await following(updates)) == ["a"]

        (tmp_path / "next").symlink_to("two")
        (tmp_path / "next").rename(current)
        assert services_of(await following(updates)) == ["b"]


async def test_a_cancelled_watch_ends_at_once(directory: Path) -> None:
    async with aclosing(FileSource(directory).watch()) as updates:
        await following(updates)
        waiting = asyncio.ensure_future(anext(updates))
        await asyncio.sleep(0)
        waiting.cancel()

        with pytest.raises(asyncio.CancelledError):
            await waiting
