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
import itertools
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, fields, replace
from importlib import resources
from pathlib import Path

from ..errors import InputError, library
from ..pipelines.values import OFF, Choice, Text, ValueKind, Whole, as_typed, declared, optional
from .measure import MEASURES
from .sources import SourceCut
from .statistics import MANY_PROMPTS
from .tasks import TASKS, Task

RESAMPLE = {"prompts": "each the mean of its seeds", "runs": "each for itself"}  # what the bootstrap draws again


@dataclass(frozen=True)
class Several(ValueKind):
    """A list of values of one kind, none twice. example: as one writes it in TOML."""

    each: ValueKind
    example: str

    def check(self, name: str, value) -> tuple:
        """A tuple. value: None if it is missing."""
        if not isinstance(value, list) or not value:
            seen = " is missing" if value is None else f" = {value}"
            raise InputError(f"{name}{seen}: a list is needed, for example {name} = {self.example}")
        found = tuple(self.each.check(name.removesuffix("s"), one) for one in value)
        for one in found:
            if found.count(one) > 1:
                raise InputError(f"{name} has {one!r} twice")
        return found


class Quoted(Text):
    """Words in quotes, not empty."""

    def check(self, name: str, value) -> str:
        """A str."""
        if not isinstance(value, str) or not value.strip():
            raise InputError(f'{name} = {value}: words in quotes are needed: {name} = "…"')
        return value.strip()


class Table(ValueKind):
    """A table of TOML."""

    def check(self, name: str, value) -> dict:
        """A dict."""
        if not isinstance(value, dict):
            raise InputError(f"{name} = {value}: a table is needed: a line [{name}] with settings below it")
        return value


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
class Study:
    """A checked study. resample: what a bootstrap draws again, "prompts" (each the mean of its seeds) or "runs".

    axes: {setting: {name: value}} of the grid; show: how many prompts the report shows videos of.
    metrics: their names, () for all that fit.
    """

    name: str
    title: str
    task: str
    settings: dict
    axes: dict[str, dict[str, object]]
    variants: tuple[Variant, ...]
    baseline: str
    prompts: tuple[str, ...]
    seeds: tuple[int, ...]
    resample: str
    cut: SourceCut
    videos: tuple[str | None, ...] = (None,)
    about: str = ""
    metrics: tuple[str, ...] = ()
    show: int = 2

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
    file = Path(source)
    if str(source) in built_in_studies() and not file.is_file():
        file = resources.files(__package__) / "studies" / f"{source}.toml"
    try:
        text = file.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise InputError(f"{source}: is not a text file; a study is a .toml file") from error
    except OSError as error:
        built_in = ", ".join(built_in_studies())
        raise InputError(
            f"there is no study {source} ({error.strerror}); give a .toml file, or one of: {built_in}"
        ) from error
    return parse_study(text, Path(file.name).stem, str(source))


def parse_study(text: str, name: str, where: str) -> Study:
    """The study that a TOML text describes. where: what error messages call it."""
    with _told(where):
        table = _toml(text)
        task = TASKS[Choice(TASKS).check("task", table.get("task", "generate"))]
        kinds = {
            "title": Quoted(),
            "about": Quoted(),
            "task": Choice(TASKS),
            "prompts": Several(task.kind("prompt"), '["a red ball on a green meadow"]'),
            "seeds": Several(task.kind("seed"), "[0, 1, 2]"),
            "videos": Several(Quoted(), '["my.mp4"]'),
            "clip": Table(),
            "baseline": Quoted(),
            "metrics": Several(Choice(MEASURES), '["clip_score"]'),
            "resample": Choice(RESAMPLE),
            "show": Whole(1),
            "settings": Table(),
            "grid": Table(),
            "variants": Table(),
        }
        _refuse_unknown(table, kinds, "key")
        for key in ("videos", "clip"):
            if key in table and not task.needs_video:
                raise InputError(f"{key} is for tasks that start from a video; {task.name} starts from noise")
        given = {key: kinds[key].check(key, value) for key, value in table.items()}
        cut, settings, grid, named = (given.pop(key, {}) for key in ("clip", "settings", "grid", "variants"))
        settings = _settings(settings, task, "[settings]")
        axes = {axis: _axis(axis, values, task) for axis, values in grid.items()}
        variants = _variants(named, axes, task)
        for key in ("prompts", "seeds", *(["videos"] if task.needs_video else [])):
            kinds[key].check(key, table.get(key))  # says what is missing
        many = len(given["prompts"]) * len(given.get("videos", " ")) >= MANY_PROMPTS
        left_out = {"title": name, "baseline": variants[0].name, "resample": "prompts" if many else "runs"}
        given = {**left_out, **given, "task": task.name}
        if given["baseline"] not in [variant.name for variant in variants]:
            there = "; ".join(variant.name for variant in variants)
            raise InputError(f'baseline "{given["baseline"]}" is no variant; there are: {there}')
        return Study(name, settings=settings, axes=axes, variants=variants, cut=_cut(cut, task), **given)


@contextmanager
def _told(where: str) -> Iterator[None]:
    """InputErrors of the block say where: "mine.toml: …", "mine.toml [grid]: …"."""
    try:
        yield
    except InputError as error:
        raise InputError(f"{where}{' ' if str(error).startswith('[') else ': '}{error}") from error


def _toml(text: str) -> dict:
    tomllib = library("tomllib" if sys.version_info >= (3, 11) else "tomli", "studies need")
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise InputError(f"is not TOML: {error}") from error


def _refuse_unknown(table: dict, known: Iterable[str], what: str) -> None:
    """InputError naming the first entry of `table` that is not known, the nearest that is, and all there are."""
    known = list(known)
    for name in table:
        if name not in known:
            near = difflib.get_close_matches(name, known, 1)
            hint = f'did you mean "{near[0]}"? ' if near else ""
            raise InputError(f'{what} "{name}" does not exist; {hint}there are: {", ".join(known)}')


def _settings(table: dict, task: Task, where: str) -> dict:
    """Settings of the task, each a value of its kind. "off" is None, for those that may be None."""
    known = {name: task.settings.__dataclass_fields__[name] for name in task.free_settings}
    with _told(where):
        _refuse_unknown(table, known, "setting")
        return {
            name: None if value in OFF and optional(known[name]) else declared(known[name]).kind.check(name, value)
            for name, value in table.items()
        }


def _cut(table: dict, task: Task) -> SourceCut:
    """What is used of the source videos; a control study follows edges unless it says otherwise."""
    with _told("[clip]"):
        _refuse_unknown(table, [one.name for one in fields(SourceCut)], "key")
        if task.name == "control":
            return SourceCut(**{"condition": "edges", **table})
        if "condition" in table:
            raise InputError(f"condition is for control studies; the task is {task.name}")
        return SourceCut(**table)


def _axis(name: str, values: list | dict, task: Task) -> dict[str, object]:
    """{name of the value: value} of one line of the grid; values given as a list are named by themselves."""
    if not isinstance(values, (list, dict)):
        raise InputError(f"[grid]: {name} = {values}: a list of values is needed, for example {name} = [{values}]")
    named = values if isinstance(values, dict) else {as_typed(value): value for value in values}
    if not named or len(named) < len(values):
        raise InputError(f"[grid]: {name} = {values}: give at least one value, and none twice")
    return {label: _settings({name: value}, task, "[grid]")[name] for label, value in named.items()}


def _variants(named: dict, axes: dict[str, dict], task: Task) -> tuple[Variant, ...]:
    """The grid's combinations, then the variants given one by one. One axis names its variants by their values."""
    variants = []
    for labels in itertools.product(*axes.values()) if axes else ():
        chosen = dict(zip(axes, labels))
        name = labels[0] if len(axes) == 1 else ", ".join(f"{axis} {label}" for axis, label in chosen.items())
        settings = {axis: axes[axis][label] for axis, label in chosen.items()}
        variants.append(Variant(name.replace("_", " "), settings, chosen))
    for name, table in named.items():
        where = f"variants.{name}"
        variants.append(Variant(name, _settings(Table().check(where, table), task, f"[{where}]")))
    names = [variant.name for variant in variants]
    if not variants:
        raise InputError("nothing is compared; add a [grid] or [variants.NAME]")
    for name in names:
        if names.count(name) > 1:
            raise InputError(f'two variants are named "{name}"; rename one')
    return tuple(variants)
