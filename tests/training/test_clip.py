"""The CLIP's training: the contrastive loss, equal captions, the towers' anatomy."""

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from t2vz.text import Tokenizer
from training.clip import (
    DIFFER,
    GROUP,
    alike,
    caption_ids,
    contrastive_losses,
    load_clip,
    measure_retrieval,
    new_clip,
    shrink,
    shrunken,
    text_tower,
    train,
)
from training.fit import Settings
from training.folder import CLIPSizes, Folder
from training.pictures import Pictures, paint_one
from training.tokenizer import write_tokenizer

TINY = CLIPSizes(width=64, text_layers=1, image_layers=1, image_size=32, patch=16)


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory):
    return Tokenizer(write_tokenizer(tmp_path_factory.mktemp("tokenizer")))


@pytest.fixture(scope="module")
def pictures():
    images, captions = zip(*(paint_one(i, 32, 5, "training") for i in range(8)))
    return Pictures(np.stack(images), list(captions))


def test_distinct_captions_and_who_has_them(tokenizer):
    ids, which = caption_ids(tokenizer, ["a red ball", "a blue cat", "a red ball"])
    assert which.tolist() == [0, 1, 0]
    assert ids.shape == (2, 77) and torch.equal(ids[1], tokenizer.encode("a blue cat").ids)


def test_loss_is_cross_entropy_of_the_similarities(tokenizer, pictures):
    clip = new_clip(tokenizer, TINY).eval()
    ids, which = caption_ids(tokenizer, pictures.captions)
    images = pictures.batch(torch.arange(8))
    loss = contrastive_losses(clip, ids[which], images, which)["loss"]
    text = clip(input_ids=ids[which], pixel_values=images)
    logits = text.logits_per_text
    same = which[:, None] == which[None]
    same = same / same.sum(1, keepdim=True)
    rows = [-(F.log_softmax(matrix, dim=1) * same).sum() / 8 for matrix in (logits, logits.T)]
    assert loss.item() == pytest.approx(sum(rows).item() / 2, rel=1e-5)


def test_equal_captions_are_no_mistake(tokenizer):
    """Two pictures of one caption: the best loss is reached with equal similarities, and costs log 2 each way."""
    clip = new_clip(tokenizer, TINY)
    ids = tokenizer.encode("a red ball").ids[None].expand(2, -1)
    images = torch.zeros(2, 3, 32, 32)
    losses = contrastive_losses(clip, ids, images, torch.tensor([0, 0]))
    assert losses["loss"].item() == pytest.approx(np.log(2), rel=1e-5)
    assert losses["found"] == 1.0


def test_training_finds_its_own_captions(tmp_path, monkeypatch):
    settings = Settings(steps=30, batch=8, learning_rate=2e-3, warmup=3, ema=0.5)
    monkeypatch.setattr("training.clip.SETTINGS", settings)
    monkeypatch.setattr("training.clip.alike", lambda facts, n, g: torch.randint(len(facts), (n,), generator=g))
    folder = Folder(out=tmp_path, size=32, pictures=8, unseen=8, clip=TINY)
    train(folder)
    tokenizer, pictures = folder.tokenizer(), folder.paint("training", 8)
    before = measure_retrieval(new_clip(tokenizer, TINY).eval(), tokenizer, pictures)
    assert measure_retrieval(load_clip(folder), tokenizer, pictures) > max(before, 0.3)


@pytest.mark.parametrize("seed", range(3))
def test_pictures_of_a_group_agree_in_two_facts(seed):
    generator = torch.Generator().manual_seed(seed)
    facts = torch.randint(3, (400, 3), generator=generator)
    chosen = facts[alike(facts, 96, generator)]
    assert chosen.shape == (96, 3)
    differing = [(group != group[0]).any(dim=0).sum().item() for group in chosen.split(GROUP)]
    assert max(differing) == 1


def test_what_differs_is_most_often_the_thing():
    generator = torch.Generator().manual_seed(4)
    facts = torch.randint(3, (400, 3), generator=generator)
    chosen = facts[alike(facts, 200 * GROUP, generator)].reshape(200, GROUP, 3)
    shares = (chosen != chosen[:, :1]).any(dim=1).double().mean(dim=0)
    torch.testing.assert_close(shares, torch.tensor(DIFFER, dtype=torch.float64), atol=0.1, rtol=0)


def test_shrunken_pictures_are_the_shrunken_batch(pictures):
    wanted = shrink(pictures.batch(torch.arange(8)), 16)
    torch.testing.assert_close(shrunken(pictures, 16).batch(torch.arange(8)), wanted, atol=1 / 255 + 1e-6, rtol=0)


def test_text_tower_is_the_clips(tokenizer):
    clip = new_clip(tokenizer, TINY, seed=2).eval()
    ids = torch.stack([tokenizer.encode(prompt).ids for prompt in ("a red ball", "")])
    states = text_tower(clip)(ids)
    theirs = clip.text_model(input_ids=ids)
    torch.testing.assert_close(states, theirs.last_hidden_state)
    end = (ids == tokenizer.end).int().argmax(dim=1)  # CLIP pools at the first end token
    torch.testing.assert_close(theirs.pooler_output, states[torch.arange(2), end])


def test_shrink_averages():
    images = torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    wanted = images.reshape(2, 3, 16, 2, 16, 2).mean(dim=(3, 5))
    torch.testing.assert_close(shrink(images, 16), wanted)
