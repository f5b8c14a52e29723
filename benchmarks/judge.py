"""A judge of embedded_quality.py's pictures: a small network that names a picture's thing, colour and place.

It is trained on painted pictures alone, all combinations, and never sees the CLIP, the autoencoder or the UNet it will
judge. Because a generated picture is softer than a painted one, it learns on pictures that are blurred, coarsened,
shifted in colour and noisy to random degrees; how well it judges what an autoencoder has blurred is measured apart
(`accuracy` of its answers on reconstructions), and a judge that is wrong there too often is no judge.
"""

import hashlib
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn import functional as F
from tqdm import tqdm

from t2vz.files import atomic_path
from t2vz.world import BACKGROUNDS, COLOURS, OBJECTS, Scene, paint, sample_scene
from training.fit import Settings, fit

SIZE = 96  # the judge looks at pictures this small
PAINTED = 128  # and learns from pictures painted this large, then averaged
ANSWERS = {"object": OBJECTS, "colour": tuple(COLOURS), "background": BACKGROUNDS}
COUNT = 12_000
STREAMS = {"training": 100, "unseen": 101, "captions": 102}  # seeds of their own: training/pictures.py has 0, 1 and 2
SETTINGS = Settings(steps=3600, batch=32, learning_rate=2e-3, warmup=100, ema=0.995, weight_decay=1e-2)


class Judge(nn.Module):
    """Pictures (n, 3, 96, 96) in [−1, 1] -> the logits of 20 things, 10 colours and 10 places, by name."""

    def __init__(self, widths: tuple[int, ...] = (32, 64, 128)):
        super().__init__()
        self.stem = nn.Conv2d(3, widths[0], 7, stride=3, padding=2)
        self.stages = nn.ModuleList(Block(width) for width in widths)
        self.narrower = nn.ModuleList(nn.Conv2d(a, b, 3, stride=2, padding=1) for a, b in zip(widths, widths[1:]))
        self.heads = nn.ModuleDict({name: nn.Linear(2 * widths[-1], len(words)) for name, words in ANSWERS.items()})

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        x = self.stem(images)
        for i, stage in enumerate(self.stages):
            x = stage(self.narrower[i - 1](x) if i else x)
        # the place is everywhere, the thing somewhere
        seen = torch.cat([x.mean(dim=(2, 3)), x.amax(dim=(2, 3))], dim=1)
        return {name: head(seen) for name, head in self.heads.items()}


class Block(nn.Module):
    """Two 3×3 convolutions beside the identity."""

    def __init__(self, width: int):
        super().__init__()
        self.norms = nn.ModuleList(nn.GroupNorm(8, width) for _ in range(2))
        self.convs = nn.ModuleList(nn.Conv2d(width, width, 3, padding=1) for _ in range(2))

    def forward(self, x: Tensor) -> Tensor:
        y = x
        for norm, conv in zip(self.norms, self.convs):
            y = conv(F.silu(norm(y)))
        return x + y


def scene_of(stream: str, i: int, held_out: bool | None = None) -> Scene:
    """Scene i of a stream, of one kind of thing: to "a ball beside a cat" the judge could not give one answer.

    Every other scene to learn from has several things or a small one: those are the hard ones.
    """
    rng = np.random.default_rng([STREAMS[stream], i])
    hard = stream == "training" and i % 2 == 1
    while True:
        scene = sample_scene(rng, held_out)
        if scene.companion is None and not (hard and scene.count == 1 and scene.size != "small"):
            return scene


def labels_of(scenes: list[Scene]) -> dict[str, Tensor]:
    """What is right: answer -> (n,), places in ANSWERS."""
    facts = {"object": "kind", "colour": "colour", "background": "background"}
    return {
        name: torch.tensor([words.index(getattr(scene, facts[name])) for scene in scenes])
        for name, words in ANSWERS.items()
    }


def look_at(frames: np.ndarray) -> Tensor:
    """Frames uint8 (n, H, W, 3) as the judge sees them: (n, 3, 96, 96) in [−1, 1], averaged over areas."""
    images = torch.from_numpy(np.array(frames)).permute(0, 3, 1, 2).float()
    return F.interpolate(images, (SIZE, SIZE), mode="area") / 127.5 - 1.0


def degrade(images: Tensor, generator: torch.Generator) -> Tensor:
    """Spoil a batch (n, 3, h, w) as small networks do: blurred, coarse, off in colour, noisy, to random degrees."""
    n = len(images)

    def draw(*shape):
        return torch.rand(shape, generator=generator).to(images.device)

    sigma = 1.5 * draw(1).item()
    images = blur(images, sigma) if sigma > 0.4 else images
    coarse = F.interpolate(F.avg_pool2d(images, 4), images.shape[-2:], mode="bilinear")
    images = torch.lerp(images, coarse, 0.5 * draw(n, 1, 1, 1) * (draw(n, 1, 1, 1) < 0.5))
    images = images * (1 + 0.2 * (draw(n, 1, 1, 1) - 0.5)) + 0.16 * (draw(n, 3, 1, 1) - 0.5)
    grain = torch.randn(images.shape, generator=generator).to(images.device)
    stains = F.interpolate(
        torch.randn((n, 3, 8, 8), generator=generator).to(images.device), images.shape[-2:], mode="bilinear"
    )
    return (images + 0.1 * draw(n, 1, 1, 1) * grain + 0.12 * draw(n, 1, 1, 1) * stains).clamp(-1, 1)


def blur(images: Tensor, sigma: float) -> Tensor:
    """A Gaussian of `sigma` pixels."""
    reach = max(1, round(3 * sigma))
    x = torch.arange(-reach, reach + 1, device=images.device, dtype=images.dtype)
    kernel = torch.exp(-0.5 * (x / sigma) ** 2)
    kernel = (kernel / kernel.sum()).expand(images.shape[1], 1, 1, -1)
    padded = F.pad(images, (reach,) * 4, mode="replicate")
    rows = F.conv2d(padded, kernel, groups=images.shape[1])
    return F.conv2d(rows, kernel.transpose(2, 3), groups=images.shape[1])


def painted(stream: str, count: int, size: int = PAINTED) -> tuple[np.ndarray, list[Scene]]:
    """The first pictures of a stream, uint8 (count, size, size, 3), and their scenes."""
    scenes = [scene_of(stream, i) for i in range(count)]
    return np.stack([paint(scene, size) for scene in tqdm(scenes, "painting", leave=False)]), scenes


def trained_judge(cache: Path, count: int = COUNT, settings: Settings = SETTINGS) -> Judge:
    """The judge kept in `cache`, or a new one: pictures are painted and the judge trained once (minutes; resumable)."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        judge = Judge()
    folder = cache / f"judge-{fingerprint()}"
    finished = folder / "judge.safetensors"
    if finished.is_file():
        judge.load_state_dict(load_file(finished))
        return judge.eval()
    images, labels = training_pictures(folder, count)

    def loss_of(generator: torch.Generator) -> dict[str, Tensor]:
        chosen = torch.randint(len(images), (settings.batch,), generator=generator)
        seen = torch.from_numpy(images[chosen.numpy()]).permute(0, 3, 1, 2).float() / 127.5 - 1.0
        with torch.autocast("cpu", enabled=False):
            seen = degrade(shift(seen, generator), generator)
        answers = judge(seen)
        parts = {name: F.cross_entropy(answers[name].float(), labels[name][chosen]) for name in ANSWERS}
        return {"loss": sum(parts.values()), **{name: part.detach() for name, part in parts.items()}}

    fit(judge, loss_of, folder / "training", settings, name="judge")
    with atomic_path(finished) as temporary:
        save_file(judge.state_dict(), temporary)
    return judge.eval()


def fingerprint(scenes: int = 8) -> str:
    """Eight letters that change when the painter does: a judge knows only the pictures it has learned from."""
    pictures = [paint(scene_of("unseen", i), 64).tobytes() for i in range(scenes)]
    return hashlib.sha256(b"".join(pictures)).hexdigest()[:8]


def shift(images: Tensor, generator: torch.Generator, reach: int = 4) -> Tensor:
    """The batch mirrored or not, and moved by up to `reach` pixels each way."""
    mirrored, dx, dy = torch.rand(3, generator=generator).tolist()
    images = images.flip(-1) if mirrored < 0.5 else images
    height, width = images.shape[-2:]
    x, y = int(dx * (2 * reach + 1)), int(dy * (2 * reach + 1))
    return F.pad(images, (reach,) * 4, mode="replicate")[..., y : y + height, x : x + width]


def training_pictures(folder: Path, count: int) -> tuple[np.ndarray, dict[str, Tensor]]:
    """Painted pictures at the judge's size, uint8 (count, 96, 96, 3), kept in `folder`, and their labels."""
    path = folder / f"pictures-{SIZE}px-{count}.npy"
    scenes = [scene_of("training", i) for i in range(count)]
    if not path.is_file():
        images = np.empty((count, SIZE, SIZE, 3), np.uint8)
        for i, scene in enumerate(tqdm(scenes, "painting for the judge")):
            images[i] = ((look_at(paint(scene, PAINTED)[None])[0] + 1) * 127.5).round().permute(1, 2, 0).numpy()
        with atomic_path(path) as temporary:
            np.save(temporary, images)
    return np.load(path, mmap_mode="r"), labels_of(scenes)


@torch.no_grad()
def answers(judge: Judge, images: Tensor) -> dict[str, Tensor]:
    """The judge's words for pictures (n, 3, 96, 96) in [−1, 1]: answer -> (n,), places in ANSWERS."""
    parts = [judge(part) for part in images.split(64)]
    return {name: torch.cat([part[name] for part in parts]).argmax(dim=1) for name in ANSWERS}


def accuracy(judge: Judge, images: Tensor, scenes: list[Scene]) -> dict[str, float]:
    """The share of right answers by name, in [0, 1]."""
    given, right = answers(judge, images), labels_of(scenes)
    return {name: (given[name] == right[name]).double().mean().item() for name in ANSWERS}
