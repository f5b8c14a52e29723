"""A study: which settings are compared, on which prompts and seeds. Read from a TOML file, checked before any work.

    title = "Does cross-frame attention matter?"
    prompts = ["a red ball on a green meadow", "a blue fish on the sea"]
    seeds = [0, 1, 2]
    baseline = "own"                     # the variant that all others are compared with

    [settings]                           # the same for all
    frames = 8

    [grid]                               # every combination is a variant
    attention = ["own", "first"]

A grid value may have a name (`motion = { on = [12, 12], off = "off" }`), variants may be given one by one
(`[variants.naive]`, settings below), and "off" stands for None, which TOML cannot write. A trial is one variant, one
prompt, one seed. Tasks that start from a video ("control", "edit") have a list `videos` besides: files, or
"example: a red ball on a green meadow", which is drawn; the table [clip] says what is used of them.
"""

import difflib
import importlib
import itertools
import typing
from collections.abc import Iterator
from dataclasses import dataclass, field, fields, replace
from importlib import resources
from pathlib import Path

from ..errors import InputError
from ..metrics import MEASURES
from .tasks import Task, get_task

KEYS = (
    "title",
    "about",
    "task",
    "prompts",
    "seeds",
    "videos",
    "clip",
    "baseline",
    "metrics",
    "resample",
    "show",
    "settings",
    "grid",
    "variants",
)
RESAMPLE = ("prompts", "runs")
CONDITIONS = ("edges", "asis")
OFF = "off"
NOT_SETTINGS = ("prompt", "seed")  # every run has its own


@dataclass(frozen=True)
class Variant:
    """One way of making the videos. settings: where it differs from the study's; axes: {grid axis: value's name}."""

    name: str
    settings: dict
    axes: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Trial:
    """One video to make: a variant on a prompt, a seed, and a source video (None for text to video)."""

    variant: Variant
    prompt: str
    seed: int
    video: str | None
    settings: dict  # all that are given, as plain JSON values; the others are the task's defaults

    @property
    def place(self) -> tuple:
        """What it shares with the trials of other variants: (video, prompt, seed)."""
        return self.video, self.prompt, self.seed

    def __str__(self) -> str:
        return f'{self.variant.name}, "{self.prompt}", seed {self.seed}'


@dataclass(frozen=True)
class SourceCut:
    """What is used of a source video: its first `frames` frames from `start` to `end` (seconds), at `fps`.

    resolution: pixels of the larger side. condition: what a control study follows, "edges" or the video "asis".
    """

    frames: int = 8
    resolution: int = 256
    start: float | None = None
    end: float | None = None
    fps: float | None = None
    condition: str | None = None


@dataclass(frozen=True)
class Study:
    """A checked study. resample: what a bootstrap draws again, "prompts" (each the mean of its seeds) or "runs".

    axes: {setting: {name: value}} of the grid; show: how many prompts the report shows videos of.
    metrics: their names, () for all that fit.
    """

    name: str
    title: str
    about: str
    task: str
    settings: dict
    axes: dict[str, dict[str, object]]
    variants: tuple[Variant, ...]
    baseline: str
    prompts: tuple[str, ...]
    seeds: tuple[int, ...]
    videos: tuple[str | None, ...]
    cut: SourceCut
    metrics: tuple[str, ...]
    resample: str
    show: int

    def trials(self) -> Iterator[Trial]:
        """All trials, in the order in which results are written: variants × videos × prompts × seeds."""
        for variant in self.variants:
            for video, prompt, seed in itertools.product(self.videos, self.prompts, self.seeds):
                settings = {**self.settings, **variant.settings, "prompt": prompt, "seed": seed}
                yield Trial(variant, prompt, seed, video, settings)

    def part(self, prompts: int | None, seeds: int | None) -> "Study":
        """The study on its first prompts and seeds only; its trials are among the whole study's."""
        for name, count, whole in (("prompts", prompts, self.prompts), ("seeds", seeds, self.seeds)):
            if count is not None and not 1 <= count <= len(whole):
                raise InputError(f"--{name} {count}: the study {self.name} has {len(whole)}; give 1 to {len(whole)}")
        return replace(self, prompts=self.prompts[:prompts], seeds=self.seeds[:seeds])


def built_in_studies() -> list[str]:
    """The names of the studies that come with t2vz."""
    folder = resources.files(__package__) / "studies"
    return sorted(file.name.removesuffix(".toml") for file in folder.iterdir() if file.name.endswith(".toml"))


def load_study(source: str | Path) -> Study:
    """The study of a TOML file, or the built-in one of that name. Raises InputError, one line, for anything wrong."""
    name = str(source)
    if name in built_in_studies() and not Path(name).is_file():
        text = (resources.files(__package__) / "studies" / f"{name}.toml").read_text(encoding="utf-8")
        return parse_study(text, name, name)
    try:
        text = Path(source).read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise InputError(f"{source}: is not a text file; a study is a .toml file") from error
    except OSError as error:
        raise InputError(
            f"there is no study {source} ({error.strerror}); give a .toml file, or one of: "
            f"{', '.join(built_in_studies())}"
        ) from error
    return parse_study(text, Path(source).stem, name)


def parse_study(text: str, name: str, where: str) -> Study:
    """The study that a TOML text describes. where: what error messages call it."""
    table = _toml(text, where)
    _refuse_unknown(table, KEYS, f"{where}: key")
    task_name = _word(table, "task", where, "generate")
    task = get_task(task_name, where)
    known = _settings_of(task)
    base = _settings(_table(table, "settings", where), known, f"{where} [settings]")
    axes = _axes(_table(table, "grid", where), known, f"{where} [grid]")
    variants = _variants(_table(table, "variants", where), axes, known, where)
    prompts = _list(table, "prompts", str, where)
    videos = _list(table, "videos", str, where) if task.needs_video else (None,)
    for key in ("videos", "clip"):
        if key in table and not task.needs_video:
            raise InputError(f"{where}: {key} is for the tasks control and edit; {task_name} starts from noise")
    study = Study(
        name=name,
        title=_word(table, "title", where, name),
        about=_word(table, "about", where, "").strip(),
        task=task_name,
        settings=base,
        axes=axes,
        variants=variants,
        baseline=_baseline(table, variants, where),
        prompts=prompts,
        seeds=_list(table, "seeds", int, where),
        videos=videos,
        cut=_cut(_table(table, "clip", where), task_name, f"{where} [clip]"),
        metrics=_metrics(table, where),
        resample=_resample(table, len(prompts) * len(videos), where),
        show=_show(table, where),
    )
    for variant in variants:
        _check_values(study, variant, task, where)
    return study


def _toml(text: str, where: str) -> dict:
    try:
        tomllib = importlib.import_module("tomllib")  # Python 3.11 and later
    except ImportError:
        try:
            tomllib = importlib.import_module("tomli")
        except ImportError as error:
            raise InputError("reading a study needs tomli on Python 3.10; pip install 't2vz[lab]'") from error
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise InputError(f"{where}: is not TOML: {error}") from error


def _refuse_unknown(table: dict, known: typing.Iterable[str], what: str) -> None:
    """InputError naming the first entry of `table` that is not known, the nearest that is, and all there are."""
    known = list(known)
    for name in table:
        if name not in known:
            near = difflib.get_close_matches(name, known, 1)
            hint = f'did you mean "{near[0]}"? ' if near else ""
            raise InputError(f'{what} "{name}" does not exist; {hint}there are: {", ".join(known)}')


def _settings_of(task: Task) -> dict[str, bool]:
    """{setting: whether it may be None} of a task, without those every run has of its own."""
    return {
        f.name: type(None) in typing.get_args(f.type)
        for f in fields(task.settings)
        if f.name not in (*NOT_SETTINGS, *task.given)
    }


def _settings(table: dict, known: dict[str, bool], where: str) -> dict:
    _refuse_unknown(table, known, f"{where}: setting")
    return {name: None if value == OFF and known[name] else value for name, value in table.items()}


def _axes(grid: dict, known: dict[str, bool], where: str) -> dict[str, dict[str, object]]:
    """{setting: {name of the value: value}}; values given as a list are named by themselves."""
    axes = {}
    for name, values in grid.items():
        if isinstance(values, list):
            named = {_name(value): value for value in values}
        elif isinstance(values, dict):
            named = values
        else:
            raise InputError(f"{where}: {name} = {values}: a list of values is needed, for example {name} = [{values}]")
        if not named or (isinstance(values, list) and len(named) < len(values)):
            raise InputError(f"{where}: {name} = {values}: give at least one value, and none twice")
        axes[name] = {label: _settings({name: value}, known, where)[name] for label, value in named.items()}
    return axes


def _name(value) -> str:
    """A value as a variant's name has it: [12, 12] -> "12,12", 0.5 -> "0.5", true -> "on"."""
    if isinstance(value, bool):
        return "on" if value else "off"
    if isinstance(value, list):
        return ",".join(_name(part) for part in value)
    return f"{value:g}" if isinstance(value, float) else str(value)


def _variants(named: dict, axes: dict[str, dict], known: dict[str, bool], where: str) -> tuple[Variant, ...]:
    """The grid's combinations, then the variants given one by one. One axis names its variants by their values."""
    variants = []
    for labels in itertools.product(*axes.values()) if axes else ():
        chosen = dict(zip(axes, labels))
        name = labels[0] if len(axes) == 1 else ", ".join(f"{axis} {label}" for axis, label in chosen.items())
        variants.append(
            Variant(name.replace("_", " "), {axis: axes[axis][label] for axis, label in chosen.items()}, chosen)
        )
    for name, table in named.items():
        if not isinstance(table, dict):
            raise InputError(
                f"{where} [variants]: {name} = {table}: settings are needed, for example "
                f"[variants.{name}] with lines below it"
            )
        variants.append(Variant(name, _settings(table, known, f"{where} [variants.{name}]")))
    names = [variant.name for variant in variants]
    if not variants:
        raise InputError(f"{where}: nothing is compared; add a [grid] or [variants.NAME]")
    if len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise InputError(f'{where}: two variants are named "{twice}"; rename one')
    return tuple(variants)


def _cut(table: dict, task: str, where: str) -> SourceCut:
    """What is used of the source videos; a control study follows edges unless it says otherwise."""
    _refuse_unknown(table, [f.name for f in fields(SourceCut)], f"{where}: key")
    cut = SourceCut(**{"condition": "edges" if task == "control" else None, **table})
    if task == "control" and cut.condition not in CONDITIONS or task != "control" and cut.condition is not None:
        raise InputError(
            f'{where}: condition "{cut.condition}": a control study follows one of: '
            f"{', '.join(CONDITIONS)}; other studies none"
        )
    for name, least in (("frames", 2), ("resolution", 8)):
        value = getattr(cut, name)
        if type(value) is not int or value < least:
            raise InputError(f"{where}: {name} = {value}: a whole number of at least {least} is needed")
    for name in ("start", "end", "fps"):
        if not isinstance(getattr(cut, name), (int, float, type(None))):
            raise InputError(f"{where}: {name} = {getattr(cut, name)}: a number is needed")
    return cut


def _baseline(table: dict, variants: tuple[Variant, ...], where: str) -> str:
    names = [variant.name for variant in variants]
    baseline = _word(table, "baseline", where, names[0])
    if baseline not in names:
        raise InputError(f'{where}: baseline "{baseline}" is no variant; there are: ' + "; ".join(names))
    return baseline


def _resample(table: dict, places: int, where: str) -> str:
    """What the bootstrap draws again. From ten prompts on it is prompts: seeds of one prompt are too much alike."""
    chosen = _word(table, "resample", where, "prompts" if places >= 10 else "runs")
    if chosen not in RESAMPLE:
        raise InputError(f'{where}: resample "{chosen}" does not exist; choose one of: {", ".join(RESAMPLE)}')
    return chosen


def _metrics(table: dict, where: str) -> tuple[str, ...]:
    chosen = _list(table, "metrics", str, where) if "metrics" in table else ()
    _refuse_unknown(dict.fromkeys(chosen), MEASURES, f"{where}: metric")
    return chosen


def _show(table: dict, where: str) -> int:
    show = table.get("show", 2)
    if not isinstance(show, int) or isinstance(show, bool) or show < 1:
        raise InputError(
            f"{where}: show = {show}: the number of prompts whose videos the report shows is needed, 1 or more"
        )
    return show


def _check_values(study: Study, variant: Variant, task: Task, where: str) -> None:
    """Every value must be one the pipeline accepts: its own check says what is wrong with it."""
    for prompt in study.prompts if variant is study.variants[0] else study.prompts[:1]:
        given = {**study.settings, **variant.settings, "prompt": prompt, "seed": study.seeds[0]}
        try:
            task.check(given)
        except InputError as error:
            raise InputError(f'{where}, variant "{variant.name}": {error}') from error
    for seed in study.seeds:
        if not 0 <= seed < 2**64:
            raise InputError(f"{where}: seed {seed}: a whole number from 0 to 2⁶⁴ − 1 is needed")


def _word(table: dict, key: str, where: str, default: str) -> str:
    value = table.get(key, default)
    if not isinstance(value, str) or (key in table and not value.strip()):
        raise InputError(f'{where}: {key} = {value}: words in quotes are needed: {key} = "{default or "…"}"')
    return value


def _table(table: dict, key: str, where: str) -> dict:
    value = table.get(key, {})
    if not isinstance(value, dict):
        raise InputError(f"{where}: {key} = {value}: a table is needed: a line [{key}] with settings below it")
    return value


def _list(table: dict, key: str, kind: type, where: str) -> tuple:
    """A list of words or of whole numbers, none twice."""
    values = table.get(key)
    example = '["a red ball on a green meadow"]' if kind is str else "[0, 1, 2]"
    right = isinstance(values, list) and values and all(type(value) is kind for value in values)
    if not right:
        seen = f" = {values}" if key in table else " is missing"
        raise InputError(f"{where}: {key}{seen}: a list is needed, for example {key} = {example}")
    if len(set(values)) < len(values):
        twice = next(value for value in values if values.count(value) > 1)
        raise InputError(f"{where}: {key} has {twice!r} twice")
    return tuple(values)
