"""CLIP score (E16) against torchmetrics on the same weights; frame consistency on frames whose order is known."""

import json
import shutil

import numpy as np
import pytest
import torch
from torchmetrics.functional.multimodal import clip_score as their_clip_score
from transformers import CLIPModel, CLIPProcessor

from t2vz.checkpoints import embedded_weights
from t2vz.errors import InputError
from t2vz.metrics import clip_score, embed_images, embed_texts, frame_consistency, load_clip
from t2vz.world import paint, sample_scene

SCENES = [sample_scene(np.random.default_rng([31, i])) for i in range(6)]


@pytest.fixture(scope="module")
def clip():
    return load_clip()


@pytest.fixture(scope="module")
def frames():
    return np.stack([paint(scene, 128) for scene in SCENES])


class Theirs(CLIPModel):
    """transformers 5 returns the towers' whole output, torchmetrics wants the projected vectors alone."""

    def get_image_features(self, *args, **kwargs):
        return getattr(out := super().get_image_features(*args, **kwargs), "pooler_output", out)

    def get_text_features(self, *args, **kwargs):
        return getattr(out := super().get_text_features(*args, **kwargs), "pooler_output", out)


@pytest.fixture(scope="module")
def theirs(tmp_path_factory):
    """The embedded CLIP in one ordinary folder with its tokenizer, as transformers' own classes load it."""
    folder = tmp_path_factory.mktemp("clip")
    weights = embedded_weights()
    CLIPModel.from_pretrained(weights / "clip").save_pretrained(folder)
    for file in [weights / "clip" / "preprocessor_config.json", *(weights / "tokenizer").iterdir()]:
        shutil.copy(file, folder)
    return folder


def test_e16_clip_score_equals_torchmetrics(clip, frames, theirs):
    model = Theirs.from_pretrained(theirs).float().eval().requires_grad_(False)
    processor = CLIPProcessor.from_pretrained(theirs)
    images = list(torch.from_numpy(frames).permute(0, 3, 1, 2))
    ours = embed_images(clip, frames)
    for scene, image, vector in zip(SCENES, images, ours):
        wanted = their_clip_score(image, scene.caption, lambda: (model, processor))
        score = clip_score(vector[None], embed_texts(clip, [scene.caption])[0])
        assert score == pytest.approx(float(wanted), abs=1e-3)
    # a video: the mean over frames of one caption's scores, where none is negative
    caption = SCENES[0].caption
    single = [float(their_clip_score(image, caption, lambda: (model, processor))) for image in images]
    assert clip_score(ours, embed_texts(clip, [caption])[0]) == pytest.approx(np.mean(single), abs=1e-3)


def test_any_clip_folder_loads(clip, frames, theirs):
    other = load_clip(theirs)
    torch.testing.assert_close(embed_images(other, frames[:2]), embed_images(clip, frames[:2]))


def test_e16_of_known_vectors():
    images = torch.tensor([[1.0, 0.0], [0.0, 3.0], [-1.0, 0.0], [2.0, 2.0]])
    # cosines with (1, 0): 1, 0, −1 (counts as 0), 1/√2
    assert clip_score(images, torch.tensor([5.0, 0.0])) == pytest.approx(100 * (1 + 0.5**0.5) / 4)


def test_right_captions_score_higher_than_wrong_ones(clip, frames):
    images, texts = embed_images(clip, frames), embed_texts(clip, [scene.caption for scene in SCENES])
    scores = torch.tensor([[clip_score(image[None], text) for text in texts] for image in images])
    assert 0 <= scores.min() and scores.max() <= 100
    assert scores.diagonal().mean() > scores.mean() + 10


def test_consistency_of_known_vectors():
    angles = torch.deg2rad(torch.tensor([0.0, 30.0, 90.0], dtype=torch.float64))
    found = frame_consistency(torch.stack([angles.cos(), angles.sin()], dim=1))
    assert found.next == pytest.approx((np.cos(np.pi / 6) + np.cos(np.pi / 3)) / 2)
    assert found.first == pytest.approx(np.cos(np.pi / 6) / 2)


def test_identical_frames_are_wholly_consistent_and_shuffled_ones_less_than_ordered(clip, frames):
    still = frame_consistency(embed_images(clip, frames[:1].repeat(3, axis=0)))
    assert still.next == pytest.approx(1, abs=1e-5) and still.first == pytest.approx(1, abs=1e-5)
    fade = [np.uint8((1 - t) * frames[0] + t * frames[1]) for t in np.linspace(0, 1, 9)]  # one scene turns into another
    vectors = embed_images(clip, np.stack(fade))
    ordered = frame_consistency(vectors).next
    for seed in range(5):
        shuffled = vectors[np.random.default_rng(seed).permutation(9)]
        assert frame_consistency(shuffled).next < ordered
    assert frame_consistency(embed_images(clip, frames)).next < 0.8 < ordered


def test_batches_do_not_change_vectors(clip, frames):
    torch.testing.assert_close(embed_images(clip, frames, batch=1), embed_images(clip, frames, batch=4))
    assert embed_images(clip, frames).norm(dim=1) == pytest.approx(np.ones(6), abs=1e-5)


def test_one_frame_has_no_consistency():
    with pytest.raises(InputError, match="at least 2"):
        frame_consistency(torch.ones(1, 4))


def test_what_is_no_clip_is_said_in_one_line(tmp_path, theirs, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    empty, text, half, mute = (tmp_path / name for name in ("empty", "text", "half", "mute"))
    empty.mkdir()
    shutil.copytree(embedded_weights() / "text_encoder", text)
    shutil.copytree(theirs, half)
    shutil.copytree(theirs, mute)
    model = CLIPModel.from_pretrained(theirs)
    kept = {key: value for key, value in model.state_dict().items() if not key.startswith("vision_model")}
    model.save_pretrained(half, state_dict=kept)
    (mute / "merges.txt").unlink()
    config = json.loads((text / "config.json").read_text())
    cases = {empty: "no CLIP model", half: "lacks vision_model", mute: "merges.txt", "no-such/clip": "hub"}
    for path, words in {**cases, text: config["model_type"]}.items():
        with pytest.raises(InputError, match=words) as caught:
            load_clip(path)
        assert "\n" not in str(caught.value)
