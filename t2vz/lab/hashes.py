"""Hashes of what decides a run: its code, the files it reads. When one changes, an old result is not today's.

Code is followed along the imports inside t2vz; comments, docstrings and layout do not count.
"""

import ast
import hashlib
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]  # the folder of the package t2vz


def code_hash(modules: tuple[str, ...]) -> str:
    """SHA-256 over the code of some modules ("t2vz.pipelines.text_to_video") and of all of t2vz they import."""
    digest = hashlib.sha256()
    for name, tree in sorted(reached(modules).items()):
        digest.update(f"{name}\n{ast.unparse(_without_docstrings(tree))}\n".encode())
    return digest.hexdigest()


def content_hash(path: str | Path) -> str:
    """SHA-256 of a file, or of a folder: the names and contents of all files in it, hidden ones aside."""
    path = Path(path)
    if path.is_file():
        return _sha256(path).hexdigest()
    digest = hashlib.sha256()
    for file in sorted(path.rglob("*")):
        name = file.relative_to(path)
        if file.is_file() and not any(part.startswith(".") for part in name.parts):
            digest.update(f"{name.as_posix()}\n{_sha256(file).hexdigest()}\n".encode())
    return digest.hexdigest()


def reached(modules: tuple[str, ...]) -> dict[str, ast.Module]:
    """{name: syntax tree} of the modules and of everything of t2vz that they import, directly or not."""
    trees: dict[str, ast.Module] = {}
    waiting = list(modules)
    while waiting:
        name = waiting.pop()
        file = _file(name)
        if file is None or name in trees:
            continue
        trees[name] = ast.parse(file.read_text(encoding="utf-8"))
        package = name if file.name == "__init__.py" else name.rpartition(".")[0]
        waiting += [package, *_imported(trees[name], package)]
    return trees


def _sha256(file: Path):
    digest = hashlib.sha256()
    with open(file, "rb") as stream:
        while block := stream.read(1 << 20):
            digest.update(block)
    return digest


def _file(name: str) -> Path | None:
    """The file of a module of t2vz; None for other names, and for t2vz itself, which computes nothing."""
    top, *parts = name.split(".")
    if top != ROOT.name or not parts:
        return None
    places = (ROOT.joinpath(*parts).with_suffix(".py"), ROOT.joinpath(*parts, "__init__.py"))
    return next((file for file in places if file.is_file()), None)


def _imported(tree: ast.Module, package: str) -> list[str]:
    """What a module imports, by absolute names: "from ..motion import warp" may be of a package or name a module."""
    names = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            parents = package.split(".")
            above = parents[: len(parents) - node.level + 1] if node.level else []
            base = ".".join([*above, *([node.module] if node.module else [])])
            names += [base, *(f"{base}.{alias.name}" for alias in node.names)]
    return names


def _without_docstrings(tree: ast.Module) -> ast.Module:
    for node in ast.walk(tree):
        if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)):
            if ast.get_docstring(node, clean=False) is not None:
                node.body = node.body[1:] or [ast.Pass()]
    return tree
