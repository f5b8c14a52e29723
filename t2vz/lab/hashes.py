"""Hashes of what decides a run: its settings, the files it reads, the code that computes it.

When one of them changes, an old result is not today's, and the run is made again.
"""

import ast
import hashlib
import json
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]  # the folder of the package t2vz
NOT_COMPUTING = ("commands", "lab", "world", "cli.py", "__init__.py")  # these never change a video or its measures
COMPUTING = ("lab/change.py", "lab/make.py", "lab/measure.py", "lab/tasks.py")  # except these


def run_key(parts: dict) -> str:
    """The name of a run: SHA-256 of all that decides it, plain JSON values. Dicts have no order."""
    text = json.dumps(parts, sort_keys=True, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    return hashlib.sha256(text.encode("utf-8")).hexdigest()[:20]


def code_hash(root: Path = ROOT) -> str:
    """SHA-256 over the code of t2vz that makes and measures videos. Comments and layout do not count."""
    digest = hashlib.sha256()
    for file in sorted(root.rglob("*.py")):
        name = file.relative_to(root)
        if name.parts[0] not in NOT_COMPUTING or name.as_posix() in COMPUTING:
            digest.update(f"{name.as_posix()}\n{ast.dump(ast.parse(file.read_bytes()))}\n".encode())
    return digest.hexdigest()


def content_hash(path: str | Path) -> str:
    """SHA-256 of a file, or of a folder: the names and contents of all files in it, hidden ones aside."""
    path, digest = Path(path), hashlib.sha256()
    if path.is_file():
        with open(path, "rb") as stream:
            while block := stream.read(1 << 20):
                digest.update(block)
        return digest.hexdigest()
    for file in sorted(path.rglob("*")):
        name = file.relative_to(path)
        if file.is_file() and not any(part.startswith(".") for part in name.parts):
            digest.update(f"{name.as_posix()}\n{content_hash(file)}\n".encode())
    return digest.hexdigest()
