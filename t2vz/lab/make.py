"""One run: the video made, measured, and put into its folder; and what decides it, for its key."""

from collections.abc import Mapping
from pathlib import Path

from ..errors import FailedError, InputError
from ..video import Video
from .measure import COSTS, EXACT, latent_error, measure, with_costs
from .runs import code_hash, run_key
from .sources import SourceVideo
from .study import Study, Trial
from .tasks import TASKS

VIDEO = "video.mp4"


def keyed_trials(
    study: Study, model: Mapping, sources: Mapping[str | None, SourceVideo | None], defaults: Mapping | None = None
) -> list[tuple[str, Trial]]:
    """The pairs (key, trial) of a study, in its order. Trials that ask for the same video have the same key.

    model: what else decides a result, plain values (SHA-256s, dtype). defaults: the checkpoint's own, for settings.
    Raises InputError for settings that do not go together.
    """
    task = TASKS[study.task]
    shared = {"task": study.task, "model": model, "code": code_hash()}
    if costs := sorted(set(study.metrics) & set(COSTS)):
        shared["costs"] = costs
    videos = {name: source and source.sha256 for name, source in sources.items()}
    keyed = []
    for trial in study.trials():
        try:
            settings = task.settings.resolve(trial.settings, defaults).to_dict()  # a side of None: the model's own
        except InputError as error:
            raise InputError(f'{study.name}, variant "{trial.variant.name}": {error}') from error
        keyed.append((run_key({**shared, "settings": settings, "video": videos[trial.video]}), trial))
    return keyed


class Maker:
    """Makes runs with one model: `maker(trial, folder)` puts the video there and returns what run.json holds.

    sd: a StableDiffusion. clip: for the metrics that need one. sources: the study's videos (`read_sources`).
    controlnet: for control studies. progress: a pipeline's.
    """

    def __init__(self, study: Study, sd, clip, sources: dict, controlnet=None, progress=None):
        self.task, self.costs = TASKS[study.task], set(study.metrics) & set(COSTS)
        self.sd, self.clip, self.sources, self.controlnet, self.progress = sd, clip, sources, controlnet, progress
        self.warm = False

    def __call__(self, trial: Trial, folder: Path) -> dict:
        task, source = self.task, self.sources[trial.video]
        try:
            video, costs = self._make(trial.settings, source)
            prompt = task.caption(trial.prompt) if task.caption else None
            metrics = measure(self.sd, self.clip, video, prompt, from_text=not task.needs_video)
        except (InputError, FailedError) as error:
            raise type(error)(f"{trial}: {error}") from error
        video.save(folder / VIDEO)
        metrics |= {name: value for name, value in costs.items() if name in self.costs}
        return {"settings": video.settings, "video": trial.video, "metrics": metrics, "notes": video.notes}

    def _make(self, settings: dict, source) -> tuple[Video, dict[str, float]]:
        """The video, and what it cost, if the study asks for that; the exact one is made again to compare with."""

        def make(settings: dict) -> Video:
            return self.task.make(self.sd, settings, source, self.controlnet, self.progress)

        if not self.costs:
            return make(settings), {}
        exact = {**settings, **EXACT}
        if not self.warm:
            make(exact)  # the first video of a process takes longer than others
            self.warm = True
        video, costs = with_costs(lambda: make(settings), self.sd.device)
        if "latent_error" in self.costs:
            is_exact = {**video.settings, **EXACT} == video.settings
            costs["latent_error"] = latent_error(video, video if is_exact else make(exact))
        return video, costs
