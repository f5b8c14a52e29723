"""Sets of videos compared, as the paper compares methods (§4.2): measures of every video, means, paired differences.

    sets = [read_set("ours/"), read_set("theirs/")]
    give_prompts(sets, "prompts.txt")
    notes = pair(sets)
    notes += [note for one in sets for film in one.films for note in measure_film(film, load_clip())]
    compare_sets(sets)

Videos of one name are a pair, or, where the sets have no names in common, videos of one place. Several videos of one
prompt are no independent witnesses: from ten prompts on, intervals are over prompts (see statistics.py).
"""

import csv
import io
import json
import os
from dataclasses import dataclass, field
from pathlib import Path

from ..errors import InputError
from ..metrics import CLIP, MEASURES, score_video
from ..metrics.motion import asked_motion
from ..video import read_masks, read_video
from ..video.pictures import ENDINGS, left_out, natural_order
from .statistics import MANY_PROMPTS, Estimate, estimate, paired

VIDEOS = (".mp4", ".m4v", ".mov", ".webm", ".mkv", ".avi", ".wmv", ".flv", ".ogv", ".ts", ".mpg", ".mpeg", ".gif")
BESIDE = (".json", "-sheet.png", "-latents.safetensors", ".txt", ".csv", ".tsv", ".md", ".html")
COLUMNS = ("video", "name", "file")  # of a table of prompts, beside "prompt": one of them

Motion = tuple[float, float]


@dataclass
class Film:
    """One video of a set, what was asked for, and what was found; motion: λ·(δ_x, δ_y) in 1/512ths of the frame."""

    path: Path
    name: str
    prompt: str | None
    motion: Motion | None
    key: tuple[str, str | int] = ("", "")  # by `pair`: the prompt, and what tells its videos apart
    shape: tuple[int, int, int] = (0, 0, 0)  # by `measure_film`: frames, height, width
    measures: dict[str, float | None] = field(default_factory=dict)  # by `measure_film`: those of `score_video`


@dataclass
class VideoSet:
    """A folder of videos, in natural order of their names; notes: one-line remarks for the user."""

    label: str
    films: list[Film]
    notes: list[str]


def read_set(path: str | Path) -> VideoSet:
    """The videos of a folder: video files, and folders of pictures. Prompts and motions are those of run files beside.

    A single file, or a folder of pictures alone, is a set of one. Raises InputError when there is no such file, no
    video in it, or two videos have the same name.
    """
    place = Path(path)
    if not os.path.exists(place):
        raise InputError(f"there is no file or folder {path}; check the name")
    inside = sorted(place.iterdir(), key=lambda one: natural_order(one.name)) if place.is_dir() else []
    found = [one for one in inside if _is_video(one)]
    others = [one.name for one in inside if found and not _belongs(one)]
    if place.is_dir() and not found and not _is_video(place):
        raise InputError(f"{path} holds no videos: neither {', '.join(VIDEOS[:5])} … nor folders of pictures")
    films = [Film(one, one.name if one.is_dir() else one.stem, *asked_for(one)) for one in found or [place]]
    names = [film.name for film in films]
    for name in names:
        if names.count(name) > 1:
            raise InputError(f"{path} holds two videos that are named {name}; a name may occur once")
    return VideoSet(str(path).rstrip("/") or "/", films, left_out(path, "video", others))


def _is_video(path: Path) -> bool:
    """Whether a file is a video by its name, or a folder holds pictures."""
    if path.name[:1] == "." and path.name != ".":
        return False
    if path.is_dir():
        return any(one.suffix.lower() in ENDINGS for one in path.iterdir())
    return path.suffix.lower() in VIDEOS


def _belongs(path: Path) -> bool:
    """Whether a file in a set is a video, or what t2vz writes beside one, or a list of prompts; or is hidden."""
    return _is_video(path) or path.name.endswith(BESIDE) or path.name[0] == "."


def asked_for(path: Path) -> tuple[str | None, Motion | None]:
    """(prompt, motion) of a video that t2vz made, from the run file beside it; None for what that does not say."""
    settings = _settings_in(run_file_of(path))
    return settings.get("prompt"), asked_motion(settings) if settings.get("motion") else None


def run_file_of(path: Path) -> Path:
    """Where the run file of a video would be: NAME.json for NAME.mp4 and for the folder NAME/."""
    path = path if path.name else path.resolve()  # "." has no name
    return path.with_name(path.name + ".json") if path.is_dir() else path.with_suffix(".json")


def _settings_in(path: Path) -> dict:
    """The settings in a run file of a video that shows what its prompt says; {} if it is none (an edit's instructs)."""
    try:
        run = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    settings = run.get("settings") if isinstance(run, dict) else None
    if not isinstance(settings, dict) or run.get("command", "generate") not in ("generate", "control"):
        return {}
    return settings | {"motion": None} if run.get("motion_from") else settings  # the camera's path was a clip's


def give_prompts(sets: list[VideoSet], path: str | Path) -> None:
    """Take the prompts from a file: a table (.csv, .tsv) with the columns video and prompt, or a line for each video.

    Raises InputError when the file cannot be read, a video gets no prompt, or there are not as many lines as videos.
    """
    try:
        text = Path(path).read_text(encoding="utf-8-sig")
    except (OSError, ValueError) as error:
        why = getattr(error, "strerror", None) or error
        raise InputError(f"the prompts in {path} cannot be read ({why})") from error
    table = _table_of_prompts(path, text) if Path(path).suffix.lower() in (".csv", ".tsv") else None
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    for one in sets:
        if table is None and len(lines) != len(one.films):
            raise InputError(
                f"{path} has {len(lines)} lines and {one.label} {len(one.films)} videos; give one for each"
            )
        for place, film in enumerate(one.films):
            film.prompt = lines[place] if table is None else table.get(film.path.name) or table.get(film.name)
            if not film.prompt:
                raise InputError(f"{path} has no prompt for {film.path}; add a row {film.name},PROMPT")


def _table_of_prompts(path: str | Path, text: str) -> dict[str, str]:
    """{video: prompt} of a table, whatever separates its columns."""
    header = text.partition("\n")[0]
    rows = list(csv.DictReader(io.StringIO(text), delimiter=max(",;\t", key=header.count)))
    column = next((name for name in COLUMNS if rows and name in rows[0]), None)
    if column is None or "prompt" not in rows[0]:
        raise InputError(
            f'{path} must begin with the names of its columns, "video,prompt", and have a row for each video'
        )
    return {row[column].strip(): row["prompt"].strip() for row in rows if row[column] and row["prompt"]}


def measure_film(film: Film, clip: CLIP | None = None, masks: str | Path | None = None) -> list[str]:
    """Read a video and take every measure; returns what reading remarks. masks: the path of foreground masks."""
    video = read_video(film.path)
    film.shape = video.frames.shape[:3]
    hidden = read_masks(masks, *film.shape) if masks else None
    film.measures = score_video(video.frames, clip, film.prompt, film.motion, hidden)
    return video.notes


def pair(sets: list[VideoSet]) -> list[str]:
    """Give every video its key; videos with the same key are a pair, for `compare_sets`. Returns remarks for the user.

    A video without a prompt takes its counterpart's. Raises InputError when the two videos of a pair have different
    prompts: their scores would not compare.
    """
    labels, notes = [[film.name for film in one.films] for one in sets], []
    if any(set(labels[0]).isdisjoint(other) for other in labels[1:]):
        if len({len(one) for one in labels}) > 1:
            notes.append("the sets have no names in common and are not equally large: nothing is paired")
        else:
            labels = [list(range(len(one))) for one in labels]
            if len(labels[0]) > 1:
                notes.append("the sets have no names in common: their videos are paired in order")
    labelled = [(film, label) for one, names in zip(sets, labels) for film, label in zip(one.films, names)]
    prompts: dict[str | int, str] = {}
    for film, label in labelled:
        if film.prompt is not None and prompts.setdefault(label, film.prompt) != film.prompt:
            raise InputError(
                f'{film.path} shows "{film.prompt}" and its counterpart "{prompts[label]}"; give all the same --prompts'
            )
    bare = sum(film.prompt is None and label in prompts for film, label in labelled)
    for film, label in labelled:
        film.prompt = prompts.get(label)
        film.key = (prompts.get(label, str(label)), label)
    return notes + [f"videos without a prompt ({bare}) take that of their counterpart"] * bool(bare)


def over_prompts(sets: list[VideoSet]) -> bool:
    """Whether intervals are over prompts, each with the mean of its videos, in place of single videos."""
    prompts = [[film.key[0] for film in one.films] for one in sets]
    return len(set(sum(prompts, []))) >= MANY_PROMPTS and any(len(set(one)) < len(one) for one in prompts)


def compare_sets(sets: list[VideoSet]) -> dict[str, list[tuple[Estimate | None, ...]]]:
    """For every measure that was taken, for every set: (its mean, its difference to the first set over the pairs)."""
    resample, found = "prompts" if over_prompts(sets) else "runs", {}
    for name in MEASURES:
        values = [{film.key: film.measures[name] for film in one.films} for one in sets]
        values = [{key: value for key, value in one.items() if value is not None} for one in values]
        differences = [None, *(paired(one, values[0], resample) for one in values[1:])]
        if any(values):
            found[name] = [(estimate(one, resample), other) for one, other in zip(values, differences)]
    return found
