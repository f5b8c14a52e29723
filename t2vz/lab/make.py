"""One run: the video made, measured, and put into its folder; and what decides it, for its hash."""

from pathlib import Path

from ..errors import FailedError, InputError
from .hashes import code_hash
from .measure import measure
from .runs import run_key
from .study import Run, Study
from .tasks import get_task

VIDEO = "video.mp4"


def keyed_runs(study: Study, model: dict, sources: dict) -> list[tuple[str, Run]]:
    """A study's runs, each with its hash. model: what else decides a result, plain values (weights' SHA-256, dtype)."""
    task = get_task(study.task)
    shared = {"task": study.task, "model": model, "code": code_hash((task.module, "t2vz.lab.measure"))}
    videos = {name: source and source.sha256 for name, source in sources.items()}
    return [
        (run_key({**shared, "settings": task.check(run.settings), "video": videos[run.video]}), run)
        for run in study.runs()
    ]


class Maker:
    """Makes runs with one model: `maker(run, folder)` puts the video there and returns what run.json holds.

    sd: a StableDiffusion. clip: for the metrics that need one. sources: the study's videos (`read_sources`).
    controlnet: for control studies. progress: a pipeline's.
    """

    def __init__(self, study: Study, sd, clip, sources: dict, controlnet=None, progress=None):
        self.task = get_task(study.task)
        self.sd, self.clip, self.sources, self.controlnet, self.progress = sd, clip, sources, controlnet, progress

    def __call__(self, run: Run, folder: Path) -> dict:
        task, source = self.task, self.sources[run.video]
        try:
            video = task.make(self.sd, self.controlnet, task.check(run.settings), source, self.progress)
            prompt = run.prompt if task.shows_prompt else None
            metrics = measure(self.sd, self.clip, video, prompt, from_text=not task.needs_video)
        except (InputError, FailedError) as error:
            raise type(error)(f"{run}: {error}") from error
        video.save(folder / VIDEO)
        return {"settings": video.settings, "video": run.video, "metrics": metrics, "notes": video.notes}
