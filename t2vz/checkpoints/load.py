"""What a path holds: which model, and where each tensor of its networks lies. Headers and config files are read.

    checkpoint = open_checkpoint("v1-5-pruned-emaonly.safetensors")   # or a folder
    unet = build(checkpoint.unet, torch.float16, "cuda")              # now the tensors are read (build.py)

`NETWORKS` is the one table of what a checkpoint is made of. `look` reads headers, tells the model, and sorts tensors to
the rows, by the names of the folder layout; what is wrong with one network stands in its place. `open_checkpoint`,
`open_vae` and `open_controlnet` raise what is wrong, `inspect` reports it.
"""

import hashlib
import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from torch import nn

from ..errors import InputError
from ..schedulers import NoiseSchedule
from ..text import TextEncoder
from ..unet import ControlNet, UNet
from ..vae import VAE
from . import ldm
from .config import HEADER, Config, from_header, read_sizes, schedule_from_json, to_json
from .kinds import BY_CONTEXT, Kind, identify, refuse
from .prediction import check_prediction, yaml_beside
from .read import (
    Entry,
    find_path,
    find_weights,
    read_header,
    read_header_and_metadata,
    read_json,
    refuse_pickles,
    refuse_quantised,
    some,
)
from .tokenizer import ADDED_FILE, NEW_FILE, TOKENIZER_FILES

STEM = "diffusion_pytorch_model"


@dataclass(frozen=True)
class Network:
    """A row of NETWORKS: where a network's tensors lie in the two layouts, and how their names become the module's."""

    name: str
    module: Callable[[Config], nn.Module]
    class_name: str  # of diffusers' or transformers' class, in config.json
    folder: str  # in a checkpoint folder; `stem` is the name of its weight file
    stem: str
    prefix: str  # of its keys in a single file
    table: Callable[[Iterable[str]], dict[str, str]] | None  # single-file keys -> {single-file module: folder module}
    tidy: Callable[[str, Entry], tuple[str, Entry] | None]  # older names and shapes -> the module's; None: no weight


def _as_it_is(name: str, entry: Entry) -> tuple[str, Entry]:
    return name, entry


def _tidy_vae(name: str, entry: Entry) -> tuple[str, Entry]:
    """The VAE's attention as linear layers: single files store [c, c, 1, 1]. Convolutions are left alone."""
    square = ".attentions." in name and entry.shape[2:] == (1, 1)
    return ldm.vae_name(name), replace(entry, shape=entry.shape[:2]) if square else entry


def _tidy_text(name: str, entry: Entry) -> tuple[str, Entry] | None:
    """Without position_ids (0, 1, 2 …, spoilt in some files) and CLIP's unused parts."""
    unused = name.endswith(("embeddings.position_ids", "text_projection.weight", "logit_scale"))
    return None if unused else (ldm.text_name(name), entry)


NETWORKS = {
    row.name: row
    for row in (
        Network("unet", UNet, "UNet2DConditionModel", "unet", STEM, ldm.UNET, ldm.unet_table, _as_it_is),
        Network("vae", VAE, "AutoencoderKL", "vae", STEM, ldm.VAE, ldm.vae_table, _tidy_vae),
        Network("text", TextEncoder, "CLIPTextModel", "text_encoder", "model", ldm.TEXT, None, _tidy_text),
        Network("ControlNet", ControlNet, "ControlNetModel", "", STEM, ldm.CONTROL, ldm.control_table, _as_it_is),
    )
}
PARTS = ("unet", "vae", "text")  # of a checkpoint; a ControlNet comes beside one
UNETS = ("sd1", "instruct-pix2pix", "inpainting")
# Which network a file of one kind holds, if it is no whole checkpoint.
ALONE = dict.fromkeys(UNETS, "unet") | {"vae": "vae", "text": "text"}
ALONE |= {"controlnet": "ControlNet", "controlnet-delta": "ControlNet"}
GIVE = "give a .safetensors file, or a folder with unet/ vae/ text_encoder/"
GIVE_VAE = "give a VAE's folder (with config.json), or a .safetensors file"
GIVE_CONTROLNET = (
    "give a ControlNet for Stable Diffusion 1.x: a .safetensors file, or a folder with config.json and "
    f"{STEM}.safetensors"
)


@dataclass(frozen=True)
class Part:
    """One network of a checkpoint: its sizes, and where each tensor lies, by the name it has in the module."""

    name: str  # a row of NETWORKS
    path: Path  # the file or folder, for messages
    config: Config
    entries: dict[str, Entry]
    described: bool = False  # by a config.json; otherwise what shapes do not show is Stable Diffusion 1.x's


@dataclass(frozen=True)
class Checkpoint:
    """What a path holds. A part that was not asked for and is not there is None.

    kind: "sd1" or "instruct-pix2pix". layout: "single-file" or "folder". schedule: what the UNet learned.
    """

    path: Path
    kind: str
    layout: str
    schedule: NoiseSchedule
    unet: Part | None
    vae: Part | None
    text: Part | None


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
    path = find_path(path, GIVE)
    if not path.is_dir():
        return _look_into_file(path)
    if any((path / NETWORKS[name].folder).is_dir() for name in PARTS):
        return _look_into_checkpoint(path)
    files = _weights_of_a_part(path)
    entries = _entries(files)
    contents = Contents(path, identify(shapes_of(entries)), entries, files)
    if name := ALONE.get(contents.kind.kind):
        _add_part(contents, name, path, entries, path / "config.json")
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
    scheduler = path / "scheduler/scheduler_config.json"
    contents.schedule = NoiseSchedule.stable_diffusion()
    if scheduler.is_file():
        contents.files.append(scheduler)
        contents.schedule = _attempt(lambda: schedule_from_json(read_json(scheduler), str(scheduler)))
    contents.files += _tokenizer_files(path)
    return contents


def _look_into_file(path: Path) -> Contents:
    """A whole checkpoint, or one network alone, in either naming."""
    entries, metadata = read_header_and_metadata(path)
    kind = identify(shapes_of(entries))
    contents = Contents(path, kind, entries, [path], metadata)
    name = ALONE.get(kind.kind)
    whole = name == "unet" and kind.layout == "single-file"
    if kind.kind == "lora" and path.with_name("adapter_config.json").is_file():
        contents.files.append(path.with_name("adapter_config.json"))
    if kind.layout == "folder":
        if name:
            _add_part(contents, name, path, entries, _config_beside(path, name))
        return contents
    groups = _sort(contents, bare=None if whole else name)
    for found, group in groups.items():
        if whole or found == "ControlNet" or found == name:
            _add_part(contents, found, path, group, None)
    if whole:
        contents.schedule = _attempt(lambda: _schedule_of_file(contents))
        contents.files += _tokenizer_files(path.parent)
        contents.files += filter(None, [yaml_beside(path)])
    return contents


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
        if key == "difference" or (name != "ControlNet" and ldm.is_extra(prefix + inside)):
            contents.dropped.append(key)
        elif name is None:
            contents.strange.append(key)
        else:
            if name == "unet" and contents.kind.kind == "instruct-pix2pix":
                entry = entries.get(ldm.ema_key(key), entry)
            groups.setdefault(name, {})[inside] = entry
    return {name: groups[name] for name in NETWORKS if name in groups}


def _add_part(contents: Contents, name: str, path: Path, entries: dict[str, Entry], config: Path | None) -> None:
    """Put a network among the parts, or what is wrong with it. config: the config.json that describes it."""
    single = contents.kind.layout == "single-file"
    if config is not None and config.is_file():
        contents.files.append(config)

    def part() -> Part:
        named = by_module_names(NETWORKS[name], entries, single)
        for entry in named.values():
            refuse_quantised(entry)
        said, where = from_header(name, contents.metadata, path), f"{path}, header {HEADER}{name}"
        if config is not None:
            said, where = read_json(config), str(config)
        return Part(name, path, read_sizes(name, shapes_of(named), path, said, where), named, config is not None)

    contents.parts[name] = _attempt(part)


def _attempt(make: Callable[[], Any]) -> Any:
    """What `make` returns, or the InputError it raises."""
    try:
        return make()
    except InputError as problem:
        return problem


def by_module_names(row: Network, entries: Mapping[str, Entry], single: bool) -> dict[str, Entry]:
    """A network's tensors by the names its module has. What no module has keeps its key, and is refused by it."""
    table = row.table(entries) if single and row.table else None
    named = {}
    for key, entry in entries.items():
        name = key if table is None else ldm.rename(key, table) or row.prefix + key
        if tidied := row.tidy(name, entry):
            named[tidied[0]] = tidied[1]
    return named


def _schedule_of_file(contents: Contents) -> NoiseSchedule:
    """A single file's noise schedule: Stable Diffusion 1.x's, unless its header says another."""
    check_prediction(contents.path, contents.metadata, contents.entries)
    header = from_header("scheduler", contents.metadata, contents.path)
    usual = NoiseSchedule.stable_diffusion()
    return schedule_from_json(to_json(usual) | header, f"{contents.path}, header {HEADER}scheduler")


def open_checkpoint(path: str | Path, needs: tuple[str, ...] = PARTS) -> Checkpoint:
    """Open a single file or a folder; no tensor is read.

    needs: the parts without which it is of no use ("unet", "vae", "text").
    Raises InputError: no such file, a pickle, cut short, another model (it says which), a part missing.
    """
    path = find_path(path, GIVE)
    if path.is_dir() and not (path / "unet").is_dir():
        raise InputError(f"{path}: holds no unet/ folder; {_folder_advice(path)}")
    contents = look(path)
    layout = "folder" if path.is_dir() else "single-file"
    if contents.kind.advice is not None or contents.kind.layout != layout:
        refuse(contents.kind, path, shapes_of(contents.entries))
    found = {name: contents.parts.get(name) for name in PARTS}
    for problem in (found["unet"], contents.schedule, *(found[name] for name in needs)):
        if isinstance(problem, InputError):
            raise problem
    if contents.strange:
        raise InputError(f"{path}: holds tensors that are no part of Stable Diffusion 1.x: {some(contents.strange)}")
    missing = [name for name in needs if found[name] is None]
    if missing:
        advice = "name one with --vae (vae=PATH), or " if missing == ["vae"] else ""
        raise InputError(f"{path}: holds no {', no '.join(missing)}; {advice}give a checkpoint that has them")
    usable = {name: part if isinstance(part, Part) else None for name, part in found.items()}
    return Checkpoint(path, contents.kind.kind, layout, contents.schedule, **usable)


def open_vae(path: str | Path) -> Part:
    """A VAE alone: diffusers' folder of one, or a .safetensors file in either naming (of a whole single file, its VAE).

    A lone file without a config.json beside it is taken to have SD 1.x's norm groups and scaling factor.
    Raises InputError: as `open_checkpoint`, or if there is no VAE.
    """
    contents = _open_alone(path, "VAE", GIVE_VAE)
    part = contents.parts.get("vae")
    if contents.kind.kind != "vae" and (contents.kind.advice is not None or contents.kind.layout == "folder"):
        raise InputError(f"{path}: this is {contents.kind.words}, not a VAE; {GIVE_VAE}")
    if isinstance(part, InputError):
        raise part
    if part is None:
        raise InputError(f"{path}: holds no vae; give a file that has one")
    return part


def open_controlnet(path: str | Path, unet: nn.Module | None = None) -> Part:
    """A ControlNet (E14): diffusers' folder of one, or a .safetensors file in either naming; no tensor is read.

    A file without a config is taken to have SD 1.x's heads and norm groups. Files of ControlNet 1.0 carry the whole
    Stable Diffusion 1.5 as well, which is passed over. unet: the network that a file of differences is added to, which
    a key "difference" marks. Raises InputError: no such file, a pickle, cut short, another model (it says which), keys
    that belong to nothing, differences and no UNet to add them to.
    """
    contents = _open_alone(path, "ControlNet", GIVE_CONTROLNET)
    part = contents.parts.get("ControlNet")
    if part is None:
        raise InputError(f"{path}: this is {contents.kind.words}, not a ControlNet; {GIVE_CONTROLNET}")
    if isinstance(part, InputError):
        raise part
    if contents.strange:
        raise InputError(f"{path}: holds tensors that are no part of a ControlNet: {some(contents.strange)}")
    if part.config.block_out_channels[0] == 320 and part.config.context_dim in BY_CONTEXT:
        raise InputError(
            f"{path}: this is a ControlNet for {BY_CONTEXT[part.config.context_dim][1]}; {GIVE_CONTROLNET}"
        )
    if not part.described and "shuffle" in Path(path).name.lower():
        raise InputError(
            f"{path}: by its name a shuffle ControlNet, which averages its residuals over the picture; "
            "t2vz runs those that follow a picture's shapes (canny, depth, openpose …)"
        )
    return _added_to(unet, part) if "difference" in contents.entries else part


def _open_alone(path: str | Path, what: str, advice: str) -> Contents:
    """`look` at the path of a VAE or a ControlNet, and say what someone who gave another folder probably wanted."""
    path = find_path(path, advice)
    if path.is_dir() and not (path / "config.json").is_file():
        inside = [path / what.lower()] if (path / what.lower()).is_dir() else sorted(path.glob("*.safetensors"))
        hint = f"did you mean {inside[0]}?" if inside else advice
        raise InputError(f"{path}: holds no config.json, so it is no {what}'s folder; {hint}")
    return look(path)


def _added_to(unet: nn.Module | None, part: Part) -> Part:
    """Each weight that the UNet has under the same name is the UNet's plus the file's."""
    if unet is None:
        raise InputError(
            f"{part.path}: holds the differences of a ControlNet from a UNet; name the UNet they are added to, "
            "load_controlnet(…, unet=sd.unet)"
        )
    weights, entries = unet.state_dict(), part.entries
    misfits = [name for name, entry in entries.items() if name in weights and entry.shape != tuple(weights[name].shape)]
    if misfits:
        raise InputError(
            f"{part.path}: holds differences from a UNet of other sizes than the one given ({some(misfits)}); "
            "give the model it was made for"
        )
    added = {
        name: replace(entry, changes=(lambda difference, base=weights[name]: difference + base.to(difference),))
        for name, entry in entries.items()
        if name in weights
    }
    return replace(part, entries=entries | added)


def files_read(path: str | Path) -> list[Path]:
    """All files that decide what the checkpoint, VAE, ControlNet or LoRA at `path` computes, in order: the weights, and
    the configs, schedule, tokenizer and settings that are read beside them. Raises as `look`."""
    return sorted(look(path).files)


def checkpoint_hash(*paths: str | Path) -> str:
    """SHA-256 of `files_read` of some paths: of one file its contents', as sha256sum prints it; of several their names'
    within the folder and their contents'. So it does not depend on where the files lie."""
    contents = [look(path) for path in paths]
    files = [(file, found.path) for found in contents for file in sorted(found.files)]
    digest = hashlib.sha256()
    for file, path in files:
        if len(files) > 1:
            digest.update(f"{os.path.relpath(file, path if path.is_dir() else path.parent)}\n".encode())
        with file.open("rb") as content:
            while block := content.read(2**20):
                digest.update(block)
    return digest.hexdigest()


def _entries(files: list[Path]) -> dict[str, Entry]:
    """All tensors of one part's file or shards."""
    entries: dict[str, Entry] = {}
    for file in files:
        for key, entry in read_header(file).items():
            if key in entries:
                shards = f"{entries[key].path.name} and {file.name}"
                raise InputError(f"{file.parent}: {key} is in two shards, {shards}; download the folder again")
            entries[key] = entry
    return entries


def _weights_of_a_part(folder: Path) -> list[Path]:
    """The weight files of a folder that is one part of a checkpoint, whichever."""
    problem = None
    for stem in (STEM, "model"):
        try:
            return find_weights(folder, stem)
        except InputError as error:
            problem = problem or error
    if (folder / "config.json").is_file():
        raise problem
    raise InputError(
        f"{folder}: is neither a checkpoint (no unet/, vae/, text_encoder/) nor one part of it; give a "
        "folder, or a .safetensors file"
    ) from problem


def _config_beside(file: Path, name: str) -> Path | None:
    """The config.json beside a network's lone weight file, if it describes such a network."""
    config = file.with_name("config.json")
    said = read_json(config) if config.is_file() else {}
    classes = [said.get("_class_name"), *(said.get("architectures") or [])]
    return config if NETWORKS[name].class_name in classes else None


def _tokenizer_files(folder: Path) -> list[Path]:
    files = (folder / "tokenizer" / name for name in (*TOKENIZER_FILES, ADDED_FILE, NEW_FILE))
    return [file for file in files if file.is_file()]


def _folder_advice(path: Path) -> str:
    """What someone who gave this folder probably wanted."""
    if (path / "config.json").is_file():
        return f"it seems to be one part of a checkpoint: give the folder above it, {path.absolute().parent}"
    files = sorted(path.glob("*.safetensors"))
    if files:
        return f"to load the single file in it, give {files[0]}"
    refuse_pickles(path)
    return "give a folder with unet/ vae/ text_encoder/ tokenizer/, or a .safetensors file"


def shapes_of(entries: Mapping[str, Entry]) -> dict[str, tuple[int, ...]]:
    """{key: shape}, by which files are told apart."""
    return {key: entry.shape for key, entry in entries.items()}
