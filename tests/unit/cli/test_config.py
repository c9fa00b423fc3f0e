"""`sidecar config`: what it prints, where, and how it ends."""

import json
from pathlib import Path

import pytest

from sidecar.cli import main
from tests.unit.documents import SHOP


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    for place, text in SHOP.items():
        (tmp_path / place).parent.mkdir(exist_ok=True)
        (tmp_path / place).write_text(text)
    return tmp_path


def sidecar(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int | str | None:
    """The exit code."""
    monkeypatch.setattr("sys.argv", ["sidecar", *arguments])
    with pytest.raises(SystemExit) as caught:
        main()
    return caught.value.code


def test_good_documents_get_one_line_and_exit_code_0(
    directory: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert sidecar(monkeypatch, "config", "check", str(directory)) == 0
    assert capsys.readouterr() == ("ok: mesh, 2 services, 1 gateway\n", "")


def test_all_problems_of_all_documents_go_to_standard_error_with_exit_code_78(
    directory: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (directory / "mesh.yaml").write_text("trust_domian: x")
    (directory / "services/inventory.yaml").write_text("protcol: x\ntimeout: 5")

    assert sidecar(monkeypatch, "config", "check", str(directory)) == 78
    out, err = capsys.readouterr()
    assert out == ""
    assert "mesh.yaml:1:1: unknown field `trust_domian`" in err
    assert "services/inventory.yaml:1:1: unknown field `protcol`" in err
    assert "services/inventory.yaml:2:10: `5` has no unit" in err
    assert "did you mean `protocol`?" in err


def test_problems_as_json_go_to_standard_output(
    directory: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (directory / "services/inventory.yaml").write_text("timeot: 5s")

    assert sidecar(monkeypatch, "config", "check", str(directory), "-o", "json") == 78
    answer = json.loads(capsys.readouterr().out)
    assert answer["ok"] is False
    assert answer["documents"] == ["gateways/edge.yaml", "mesh.yaml", "services/orders.yaml"]
    (problem,) = answer["problems"]
    assert problem["place"] == "services/inventory.yaml:1:1"
    assert problem["hint"] == "did you mean `timeout`?"


@pytest.mark.parametrize(("name", "message"), [("nowhere", "cannot be read"), ("empty", "there is no document")])
def test_a_directory_without_documents_is_bad_configuration(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], name: str, message: str
) -> None:
    (tmp_path / "empty").mkdir()

    assert sidecar(monkeypatch, "config", "check", str(tmp_path / name)) == 78
    assert message in capsys.readouterr().err


@pytest.mark.parametrize("kind", ["mesh", "service", "gateway"])
def test_the_schema_of_one_kind_describes_every_field(
    kind: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert sidecar(monkeypatch, "config", "schema", kind) == 0
    schema = json.loads(capsys.readouterr().out)

    assert schema["$schema"] == "https://json-schema.org/draft/2020-12/schema"
    for described in [schema, *schema["$defs"].values()]:
        assert described["additionalProperties"] is False
        # A field that is a model by the same words has the model's description.
        assert all(field.get("description") or field["$ref"] for field in described["properties"].values())


def test_the_schema_of_all_holds_each_kind_and_no_null(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert sidecar(monkeypatch, "config", "schema") == 0
    printed = capsys.readouterr().out
    schema = json.loads(printed)

    kinds = ["mesh", "service", "gateway", "consumer"]
    assert [part["$ref"] for part in schema["anyOf"]] == [f"#/$defs/{kind}" for kind in kinds]
    assert set(kinds) <= set(schema["$defs"])
    assert "null" not in printed
    assert schema["$defs"]["mesh"]["properties"]["connect_timeout"]["default"] == "5s"
