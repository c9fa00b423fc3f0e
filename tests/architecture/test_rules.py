"""The tree keeps the rules of shape."""

from pathlib import Path

from tests.architecture import rules

ROOT = Path(__file__).parents[2]


def test_no_file_holds_two_things() -> None:
    assert rules.size_complaints(ROOT) == []


def test_every_name_says_something() -> None:
    assert rules.name_complaints(ROOT) == []


def test_one_module_knows_the_compiled_half() -> None:
    assert rules.seam_complaints(ROOT) == []


def test_a_package_lists_what_it_hands_out() -> None:
    assert rules.export_complaints(ROOT) == []


def test_every_link_in_our_pages_leads_somewhere() -> None:
    assert rules.link_complaints(ROOT) == []


def test_the_committed_wire_files_are_what_the_protos_give(tmp_path: Path) -> None:
    assert rules.wire_complaints(ROOT, tmp_path) == []
