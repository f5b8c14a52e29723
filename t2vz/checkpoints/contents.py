"""What a path holds: which model it is, and where each tensor of its networks lies. No tensor is read.

`look` reads headers and config files, tells the model, and sorts the tensors to the rows of NETWORKS. What is wrong
with one network stands in its place and does not hide the others: the loader raises it, `inspect` reports it.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..errors import InputError
from ..schedulers import NoiseSchedule
from . import layouts, lora
from .attached import INVERTED_FILE
from .config import describes, from_header, read_sizes
from .kinds import Kind, identify
from .networks import NETWORKS, PARTS, STEM, Part, by_module_names, put, shapes_of
from .read import GIVE, Entry, find_path, find_weights, read_header, read_json, refuse_quantised
from .schedule import schedule_from_json, schedule_of_file, yaml_files
from .tokenizer import tokenizer_files

UNETS = ("sd1", "instruct-pix2pix", "inpainting")
# Which network a file of one kind holds, if it is no whole checkpoint.
ALONE = dict.fromkeys(UNETS, "unet") | {"vae": "vae", "text": "text"}
ALONE |= {"controlnet": "ControlNet", "controlnet-delta": "ControlNet"}


@dataclass
class Contents:
    """What `look` finds. In `parts` and `schedule` an InputError stands for what cannot be used, and says why."""

    path: Path
    kind: Kind
    entries: dict[str, Entry] = field(default_factory=dict)  # every tensor, by its key in the file
    files: list[Path] = field(default_factory=list)  # all that decides what is computed
    metadata: Mapping[str, str] = field(default_factory=dict)  # a single file's header
    parts: dict[str, Part | InputError] = field(default_factory=dict)
    schedule: NoiseSchedule | InputError | None = None
    strange: list[str] = field(default_factory=list)  # keys of no network
    dropped: list[str] = field(default_factory=list)  # keys that are no weights: schedule tables, EMA copies …


def look(path: str | Path) -> Contents:
    """What a file or folder holds; headers and config files are read, no tensor.

    Raises InputError for what cannot be read: no such file, a pickle, cut short, no safetensors.
    """
    path = find_path(path)
    if path.is_dir() and any((path / NETWORKS[name].folder).is_dir() for name in PARTS):
        return _look_into_checkpoint(path)
    files = _weights_of_a_part(path) if path.is_dir() else [path]
    entries, metadata = _entries(files), {} if path.is_dir() else read_header(path)[1]
    contents = Contents(path, identify(shapes_of(entries)), entries, files, metadata)
    name = ALONE.get(contents.kind.kind)
    if contents.kind.layout == "single-file" and not path.is_dir():
        _look_into_single_file(contents, name)
    elif name:
        config = path / "config.json" if path.is_dir() else _config_beside(path, name)
        _add_part(contents, name, path, entries, config)
    elif settings := lora.settings_file(path, metadata):
        contents.files.append(settings)
    return contents


def _look_into_checkpoint(path: Path) -> Contents:
    """A folder with unet/ vae/ text_encoder/ scheduler/ tokenizer/, or some of them."""
    contents = Contents(path, Kind("unknown", "a checkpoint folder without a UNet", "folder", advice=None))
    for name in PARTS:
        row, folder = NETWORKS[name], path / NETWORKS[name].folder
        if not folder.is_dir():
            continue
        try:
            files = find_weights(folder, row.stem)
            entries = _entries(files)
        except InputError as problem:
            contents.parts[name] = problem
            continue
        contents.files += files
        contents.entries |= {f"{row.folder}/{key}": entry for key, entry in entries.items()}
        if name == "unet":
            contents.kind = identify(shapes_of(entries))
        _add_part(contents, name, folder, entries, folder / "config.json")
    scheduler, inverted = path / "scheduler/scheduler_config.json", path / INVERTED_FILE
    contents.schedule = NoiseSchedule.stable_diffusion()
    if scheduler.is_file():
        contents.schedule = attempt(lambda: schedule_from_json(read_json(scheduler), str(scheduler)))
    contents.files += [file for file in (scheduler, inverted) if file.is_file()] + tokenizer_files(path / "tokenizer")
    return contents


def _look_into_single_file(contents: Contents, name: str | None) -> None:
    """A whole checkpoint, or one network alone (`name`), in the original program's naming."""
    whole = name == "unet"
    groups = _sort(contents, bare=None if whole else name)
    for found, group in groups.items():
        if whole or found in ("ControlNet", name):
            _add_part(contents, found, contents.path, group, None)
    if whole:
        path = contents.path
        contents.schedule = attempt(lambda: schedule_of_file(path, contents.metadata, contents.entries))
        contents.files += tokenizer_files(path.parent / "tokenizer") + yaml_files(path)


def _sort(contents: Contents, bare: str | None) -> dict[str, dict[str, Entry]]:
    """A single file's tensors by network, without prefix. bare: the network whose keys may lack it.

    InstructPix2Pix files hold their UNet twice; the moving average (EMA), which its authors run, is taken.
    """
    entries = contents.entries
    groups: dict[str, dict[str, Entry]] = {}
    for key, entry in entries.items():
        name = next((name for name, row in NETWORKS.items() if key.startswith(row.prefix)), bare)
        prefix = NETWORKS[name].prefix if name else ""
        inside = key.removeprefix(prefix)
        if key == "difference" or (name != "ControlNet" and layouts.is_extra(prefix + inside)):
            contents.dropped.append(key)
        elif name is None:
            contents.strange.append(key)
        else:
            if name == "unet" and contents.kind.kind == "instruct-pix2pix":
                entry = entries.get(layouts.ema_key(key), entry)
            put(groups.setdefault(name, {}), inside, entry)
    return {name: groups[name] for name in NETWORKS if name in groups}


def _add_part(contents: Contents, name: str, path: Path, entries: dict[str, Entry], config: Path | None) -> None:
    """Put a network among the parts, or what is wrong with it. config: the config.json that describes it."""
    row, single = NETWORKS[name], contents.kind.layout == "single-file"
    if config is not None and config.is_file():
        contents.files.append(config)

    def part() -> Part:
        """The network's entries under its modules' names, with its config. Raises what is wrong with them."""
        named = by_module_names(row, entries, single)
        for entry in named.values():
            refuse_quantised(entry)
        said, where = from_header(name, contents.metadata, path)
        if config is not None:
            said, where = read_json(config), str(config)
        sizes = read_sizes(row.config, shapes_of(named), path, said, where)
        return Part(name, path, sizes, named, config is not None)

    contents.parts[name] = attempt(part)


def attempt(make: Callable[[], Any]) -> Any:
    """What `make` returns, or the InputError it raises."""
    try:
        return make()
    except InputError as problem:
        return problem


def _entries(files: list[Path]) -> dict[str, Entry]:
    """All tensors of one part's file or shards."""
    entries: dict[str, Entry] = {}
    for file in files:
        found, _ = read_header(file)
        if twice := min(found.keys() & entries.keys(), default=None):
            shards = f"{entries[twice].path.name} and {file.name}"
            raise InputError(f"{file.parent}: {twice} is in two shards, {shards}; download the folder again")
        entries |= found
    return entries


def _weights_of_a_part(folder: Path) -> list[Path]:
    """The weight files of a folder that is one part of a checkpoint, whichever."""
    found = [attempt(lambda stem=stem: find_weights(folder, stem)) for stem in (STEM, "model")]
    for files in found:
        if not isinstance(files, InputError):
            return files
    if (folder / "config.json").is_file():
        raise found[0]
    raise InputError(f"{folder}: is neither a checkpoint (no unet/, vae/, text_encoder/) nor one part of it; {GIVE}")


def _config_beside(file: Path, name: str) -> Path | None:
    """The config.json beside a network's lone weight file, if it describes such a network."""
    config = file.with_name("config.json")
    return config if config.is_file() and describes(read_json(config), NETWORKS[name].config) else None
