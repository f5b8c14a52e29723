"""Keeps the book true: links in method.md lead to the lines they name, pictures are drawn by the code they show.

    python docs/make.py --check                  say what is wrong, and fail if anything is
    python docs/make.py --links                  write the lines of all links anew
    python docs/make.py --pictures               draw all pictures again (minutes)
    python docs/make.py --pictures e08-warp      only these; --steps 25 for a quick look

method.md names code in brackets, [`warp`]; the list at its end says in which file that is, and on which line. A name is
a function's or class's, a method's (`Job.denoise`), or with its file before it where two are called alike
(`test_edit.test_latents_float32`). A new name that only one file defines is entered by --links; of several, enter one
by hand, with any line. tests/test_book.py runs the check.
"""

import argparse
import ast
import re
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

DOCS = Path(__file__).resolve().parent
BOOK = DOCS / "method.md"
EQUATIONS = [f"E{n}" for n in range(1, 18)]

USED = re.compile(r"\[`([\w.]+)`\](?!:)")
ENTRY = re.compile(r"^\[`([\w.]+)`\]: (\S+\.py)#L(\d+)$", re.MULTILINE)
HEADING = re.compile(r"^### (E\d+) · .*$", re.MULTILINE)
PICTURE = re.compile(r"!\[[^\]]+\]\(pictures/([\w-]+)\.png\)")


def line_of(path: Path, name: str) -> int | None:
    """The line on which a file defines `name` ("warp", "Job.denoise", "test_edit.test_step"); None if it does not."""
    return definitions(path).get(name.removeprefix(f"{path.stem}."))


@cache
def definitions(path: Path) -> dict[str, int]:
    """Functions, classes and methods of a file: name -> line of its def."""
    found = {}
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        if isinstance(node, (ast.FunctionDef, ast.ClassDef)):
            found[node.name] = node.lineno
        if isinstance(node, ast.ClassDef):
            methods = (inner for inner in node.body if isinstance(inner, ast.FunctionDef))
            found.update({f"{node.name}.{method.name}": method.lineno for method in methods})
    return found


def relinked(text: str) -> str:
    """The book with the list at its end written anew: every name used, sorted, with the line it is defined on.

    Raises SystemExit, a line each, for names that no file defines, or several and the list does not say which.
    """
    files = {name: path for name, path, _ in ENTRY.findall(text)}
    body = ENTRY.sub("", text).rstrip("\n")
    entries, unclear = [], []
    for name in sorted(set(USED.findall(body))):
        path = files.get(name)
        if path is None or not (DOCS / path).is_file() or line_of(DOCS / path, name) is None:
            path, *others = files_defining(name) or [None]
            if path is None or others:
                listed = f"enter one of {path}, {', '.join(others)} in the list at the end"
                unclear.append(f"method.md: [`{name}`]: {listed if path else 'no file defines it'}")
                continue
        entries.append(f"[`{name}`]: {path}#L{line_of(DOCS / path, name)}")
    if unclear:
        raise SystemExit("\n".join(unclear))
    return body + "\n\n" + "\n".join(entries) + "\n"


def files_defining(name: str) -> list[str]:
    """The files that define a name, relative to docs/: tests for a test's, the package's for others."""
    room = DOCS.parent / ("tests" if "test_" in name else "t2vz")
    return [
        f"../{path.relative_to(DOCS.parent).as_posix()}" for path in sorted(room.rglob("*.py")) if line_of(path, name)
    ]


def sections(text: str) -> dict[str, str]:
    """Tag -> the text of its section, up to the next heading of that rank or above; of a tag that comes twice, both."""
    found: dict[str, str] = {}
    for match in HEADING.finditer(text):
        rest = text[match.end() :]
        end = re.search(r"^#{2,3} ", rest, re.MULTILINE)
        found[match[1]] = found.get(match[1], "") + rest[: end.start() if end else None]
    return found


def problems(text: str) -> Iterator[str]:
    """What is wrong with the book, a line each."""
    entries = {name: (path, int(line)) for name, path, line in ENTRY.findall(text)}
    tags = HEADING.findall(text)
    if tags != EQUATIONS:
        yield f"sections are {', '.join(tags)}; each of {EQUATIONS[0]} to {EQUATIONS[-1]} is needed once, in order"
    for tag, section in sections(text).items():
        paths = {name: entries[name][0] for name in USED.findall(section) if name in entries}
        if "$$" not in section:
            yield f"{tag} has no formula"
        if not any(path.startswith("../t2vz/") for path in paths.values()):
            yield f"{tag} has no function"
        if not any(path.startswith("../tests/") and "test_" in name for name, path in paths.items()):
            yield f"{tag} has no test"
        if not PICTURE.search(section):
            yield f"{tag} has no picture"
    for name in sorted(set(USED.findall(text)) ^ set(entries)):
        yield f"[`{name}`] is {'used but not listed' if name not in entries else 'listed but not used'}; run --links"
    for name, (path, line) in entries.items():
        found = line_of(DOCS / path, name) if (DOCS / path).is_file() else None
        if found is None:
            yield f"[`{name}`]: {path} does not define it"
        elif found != line:
            yield f"[`{name}`]: is on line {found} of {path}, not on {line}; run --links"
    for name in PICTURE.findall(text):
        if not (DOCS / "pictures" / f"{name}.png").is_file():
            yield f"pictures/{name}.png is missing; run --pictures {name}"


def draw_pictures(names: list[str], steps: int) -> None:
    """Draw some pictures, or all; one whose model is not there stays as it is, and that is said."""
    from draw import PICTURES, Studio, missing_model, save

    unknown = [name for name in names if name not in PICTURES]
    if unknown:
        raise SystemExit(f"there is no picture {unknown[0]}; there are: {', '.join(PICTURES)}")
    studio = Studio(steps)
    for name in names or PICTURES:
        path = DOCS / "pictures" / f"{name}.png"
        if missing_model(name):
            print(f"{path.name}: left as it is: {missing_model(name)}", flush=True)
            continue
        save(PICTURES[name](studio), path)
        print(f"{path.name}: {path.stat().st_size / 1024:.0f} KiB", flush=True)


def main(arguments: list[str] | None = None) -> int:
    """The command line; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="say what is wrong with the book")
    parser.add_argument("--links", action="store_true", help="write the lines of all links anew")
    parser.add_argument("--pictures", nargs="*", metavar="NAME", help="draw these pictures, or all")
    parser.add_argument("--steps", type=int, default=50, help="sampler steps for pictures (50; 25 for a quick look)")
    args = parser.parse_args(arguments)
    text = BOOK.read_text(encoding="utf-8")
    if args.links:
        text = relinked(text)
        BOOK.write_text(text, encoding="utf-8")
    if args.pictures is not None:
        draw_pictures(args.pictures, args.steps)
    found = list(problems(text)) if args.check else []
    print("\n".join(found), end="\n" if found else "")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
