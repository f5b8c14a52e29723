"""The house rules of docs/architecture.md, checked on the tree itself: who imports whom, and what gets installed."""

import ast
import configparser
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
FILES = sorted((ROOT / "t2vz").rglob("*.py"))

# A room imports only from rooms above it in this list; the first three only from each other.
ROOMS = [
    "errors",
    "files",
    "finite",
    "world",
    "schedulers",
    "motion",
    "attention",
    "unet",
    "vae",
    "text",
    "checkpoints",
    "model",
    "video",
    "conditions",
    "metrics",
    "pipelines",
    "lab",
    "commands",
    "cli",
]
# motion uses E2, the networks use attention: those are above. A config is only numbers, so checkpoints may import it.


def imports(path: Path):
    """(room, imported room or None, top-level package) of every import in a file."""
    module = path.relative_to(ROOT).with_suffix("").parts  # ("t2vz", "motion", "warp")
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names = [alias.name.split(".") for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = list(module[: len(module) - node.level]) if node.level else []
            target = base + (node.module.split(".") if node.module else [])
            names = [target] if node.module else [target + [alias.name] for alias in node.names]
        else:
            continue
        yield from names


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_rooms_import_only_from_rooms_above(path):
    parts = path.relative_to(ROOT / "t2vz").with_suffix("").parts
    room = parts[0]
    for name in imports(path):
        assert name[0] not in ("diffusers", "pickle"), f"{path} imports {name[0]}"
        if name[0] == "t2vz" and len(name) > 1 and name[1] in ROOMS and room in ROOMS and name[1] != room:
            assert ROOMS.index(name[1]) < ROOMS.index(room), f"{room} imports {name[1]}, which is below it"


@pytest.mark.parametrize("room", ["schedulers", "motion", "attention"])
def test_the_ground_floor_knows_nothing_of_models_or_files(room):
    allowed = {"torch", "einops", "math", "collections", "dataclasses", "functools", "itertools", "t2vz", "__future__"}
    for path in sorted((ROOT / "t2vz" / room).rglob("*.py")):
        for name in imports(path):
            assert name[0] in allowed, f"{path} imports {name[0]}"
            assert name[:2] in (["t2vz", "errors"], ["t2vz", "schedulers"], ["t2vz", room]) or name[0] != "t2vz"


def test_every_package_and_every_weight_file_is_installed():
    config = configparser.ConfigParser()
    config.read(ROOT / "setup.cfg")
    listed = set(config["options"]["packages"].split())
    found = {".".join(path.parent.relative_to(ROOT).parts) for path in FILES if path.name == "__init__.py"}
    assert listed == found | {"t2vz.weights"}
    endings = {pattern.split("*")[-1] for pattern in config["options.package_data"]["t2vz.weights"].split(", ")}
    files = [path for path in (ROOT / "weights").rglob("*") if path.is_file()]
    assert files and {path.suffix for path in files} <= endings


def test_weights_stay_small():
    sizes = [path.stat().st_size for path in (ROOT / "weights").rglob("*") if path.is_file()]
    assert sum(sizes) < 52 * 2**20 and max(sizes) < 15 * 2**20


def test_algorithm_1_s_page_names_functions_that_exist():
    """The page's table of equations is a map: each name on it must lead somewhere."""
    from t2vz import attention, schedulers
    from t2vz.pipelines import algorithm_1, control, edit, prediction

    rooms = {
        "attention": attention,
        "schedulers": schedulers,
        "control": control,
        "edit": edit,
        "prediction": prediction,
    }
    table = algorithm_1.__doc__.partition("from the outside in:")[2]
    named = [name.strip(",").split(".") for name in table.split() if name.split(".")[0] in rooms and "." in name]
    assert len(named) == 9 and all(callable(getattr(rooms[room], name)) for room, name in named)
