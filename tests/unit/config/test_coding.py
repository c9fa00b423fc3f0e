"""`compress` and `decompress` of a gateway and its routes."""

import pytest

from sidecar.config.load import load
from sidecar.config.model import Gateway
from sidecar.snapshot import GatewayRole, compile
from sidecar.wire import snapshot_pb2 as wire
from tests.unit.documents import SHOP, problems_of, world_of


def edge(route: str = "", rest: str = "") -> str:
    return f"{rest and rest + chr(10)}routes:\n  - {{name: all, to: {{service: inventory}}{route and ', ' + route}}}\n"


def compiled(route: str = "", rest: str = "") -> wire.Route:
    said = f"listeners: [{{port: 8080}}]\n{edge(route, rest)}"
    (table,) = compile(world_of({**SHOP, "gateways/edge.yaml": said}), GatewayRole("edge"), 1).route_tables
    (made,) = table.routes
    return made


def test_an_empty_mapping_is_all_the_defaults() -> None:
    model = load("gateways/edge.yaml", edge(rest="compress: {}\ndecompress: {}").encode()).model

    assert isinstance(model, Gateway)
    assert model.compress is not None
    assert model.decompress is not None
    assert (model.compress.encodings, model.compress.min_size) == (("zstd", "br", "gzip"), 1024)
    assert "text/*" in model.compress.content_types
    assert (model.decompress.max_size, model.decompress.max_ratio) == (10 << 20, 100)


def test_a_route_has_what_it_says_else_what_its_gateway_says() -> None:
    assert not compiled().HasField("compress")
    assert not compiled().HasField("decompress")
    whole = "compress: {encodings: [gzip], content_types: [text/html], min_size: 2KiB}\ndecompress: {max_ratio: 7}"
    made = compiled(rest=whole)
    assert made.compress == wire.Compress(codings=[wire.CODING_GZIP], content_types=["text/html"], min_size=2048)
    assert made.decompress == wire.Decompress(max_size=10 << 20, max_ratio=7)
    own = compiled("compress: {encodings: [br, zstd]}, decompress: {max_size: 1MiB}", whole)
    assert own.compress.codings == [wire.CODING_BROTLI, wire.CODING_ZSTD]
    assert own.decompress == wire.Decompress(max_size=1 << 20, max_ratio=100)
    assert not compiled("compress: {encodings: []}", whole).HasField("compress")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("compress: true", "`true` is not a mapping of fields"),
        ("compress: {encodings: [deflate]}", "`deflate` is not one of the choices"),
        ("compress: {encodings: [br, br]}", "an encoding stands here twice"),
        ("compress: {content_types: []}", "an empty list compresses nothing"),
        ("compress: {content_types: [text]}", "this is no type of content: `text`"),
        ("compress: {min_size: 1024}", "`1024` has no unit"),
        ("decompress: {max_size: 0B}", "`0B` is out of range"),
        ("decompress: {max_ratio: 0}", "`0` is out of bounds"),
        ("decompress: {encodings: [br]}", "unknown field `encodings`"),
    ],
)
def test_what_cannot_be_meant_is_refused_with_its_place(text: str, message: str) -> None:
    (problem,) = problems_of(edge(text), "gateways/edge.yaml")

    assert problem.message.startswith(message), problem
    assert problem.place.startswith("gateways/edge.yaml:2:")
