"""The rules of shape that no linter has. Each looks at a tree and returns its complaints, one line each."""

import ast
import filecmp
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

# A file that grows past this holds two things.
MAX_LINES = 500
# The story of a request fits in one reading.
MAX_LINES_OF = {"dataplane/src/exchange.rs": 300}
# Names that say nothing.
EMPTY_NAMES = {"utils", "util", "common", "core", "helpers", "helper", "manager"}
SOURCE_FOLDERS = ("sidecar", "dataplane", "tests", "benchmarks", "examples")


def size_complaints(root: Path) -> list[str]:
    """Files that are longer than one thing takes."""
    complaints = []
    for file in _sources(root):
        name = file.relative_to(root).as_posix()
        lines, limit = len(file.read_text().splitlines()), MAX_LINES_OF.get(name, MAX_LINES)
        if lines > limit:
            complaints.append(f"{name} has {lines} lines, more than {limit}: does it hold two things?")
    return complaints


def name_complaints(root: Path) -> list[str]:
    """Files and folders whose name does not say what is in them."""
    return [
        f"{file.relative_to(root)}: a name that says nothing"
        for file in _sources(root)
        if EMPTY_NAMES & {file.stem, *file.relative_to(root).parts}
    ]


def seam_complaints(root: Path) -> list[str]:
    """Modules other than the seam's face that import the compiled module."""
    return [
        f"{file.relative_to(root)} imports sidecar._dataplane: only sidecar/dataplane.py may"
        for file in _python(root / "sidecar")
        if file != root / "sidecar/dataplane.py"
        and any("_dataplane" in module.split(".") for module in _imported(ast.parse(file.read_text())))
    ]


def export_complaints(root: Path) -> list[str]:
    """`__all__` that lists what is not there; packages that define or import names of their own without listing any.

    Order within `__all__` is ruff's (RUF022); that nobody imports an unlisted name is mypy's.
    """
    complaints = []
    for file in _python(root / "sidecar"):
        tree, name = ast.parse(file.read_text()), file.relative_to(root).as_posix()
        listed, defined = _listed(tree), set(_defined(tree))
        lost = (listed or set()) - defined - set(_from_imports(tree, "sidecar"))
        complaints += [f"{name}: __all__ lists {gone}, which is not there" for gone in lost]
        if file.name == "__init__.py":
            package = file.parent.relative_to(root).as_posix().replace("/", ".")
            own = defined if listed is not None else {*defined, *_from_imports(tree, package)}
            unlisted = {public for public in own if not public.startswith("_")} - (listed or set())
            complaints += [f"{name}: {public} is handed out but __all__ does not list it" for public in unlisted]
    return sorted(complaints)


def link_complaints(root: Path) -> list[str]:
    """Links in our pages that lead to a file or folder that is not there."""
    complaints = []
    for page in [*root.glob("*.md"), *(page for folder in SOURCE_FOLDERS for page in (root / folder).rglob("*.md"))]:
        for target in re.findall(r"\]\(([^)#\s]+)[^)]*\)", page.read_text()):
            if "://" not in target and not (page.parent / target).exists():
                complaints.append(f"{page.relative_to(root)} links to {target}, which is not there")
    return complaints


def wire_complaints(root: Path, scratch: Path) -> list[str]:
    """Generated files in `sidecar/wire` that `protos/` no longer gives; `scratch` is an empty folder to generate in."""
    protos, committed = root / "protos", root / "sidecar/wire"
    sources = sorted((protos / "sidecar/wire").glob("*.proto"))
    arguments = [f"--proto_path={protos}", f"--python_out={scratch}", f"--pyi_out={scratch}", *map(str, sources)]
    subprocess.run([sys.executable, "-m", "grpc_tools.protoc", *arguments], check=True)
    fresh = scratch / "sidecar/wire"
    names = {path.name for folder in (fresh, committed) for path in folder.glob("*_pb2.py*")}
    _, different, missing = filecmp.cmpfiles(fresh, committed, names, shallow=False)
    return [f"sidecar/wire/{name} is not what protos/ gives: run `make protos`" for name in sorted(different + missing)]


def _sources(root: Path) -> Iterator[Path]:
    """Python and Rust files that a person wrote."""
    for folder in SOURCE_FOLDERS:
        for file in sorted((root / folder).rglob("*")):
            generated = "_pb2" in file.name or "target" in file.parts
            if file.suffix in {".py", ".pyi", ".rs"} and not generated:
                yield file


def _python(folder: Path) -> Iterator[Path]:
    return (file for file in sorted(folder.rglob("*.py")) if "_pb2" not in file.name)


def _imported(tree: ast.Module) -> Iterator[str]:
    """Every module and name that is imported, anywhere in the file."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield from (f"{node.module or ''}.{alias.name}" for alias in node.names)


def _listed(tree: ast.Module) -> set[str] | None:
    for node in tree.body:
        if isinstance(node, ast.Assign) and [ast.unparse(target) for target in node.targets] == ["__all__"]:
            return set(ast.literal_eval(node.value))
    return None


def _defined(tree: ast.Module) -> Iterator[str]:
    """The names that a module defines at its top level."""
    for node in tree.body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            yield node.name
        elif isinstance(node, ast.Assign):
            yield from (target.id for target in node.targets if isinstance(target, ast.Name))
        elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            yield node.target.id


def _from_imports(tree: ast.Module, package: str) -> Iterator[str]:
    """The names that a module imports from `package` or from below it."""
    for node in tree.body:
        if isinstance(node, ast.ImportFrom) and f"{node.module or package}.".startswith(f"{package}."):
            yield from (alias.asname or alias.name for alias in node.names)
