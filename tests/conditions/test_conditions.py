"""Edges equal OpenCV's, depth is near-bright whatever the model gives, skeletons stand where the joints are."""

import sys

import numpy as np
import pytest
import torch
from transformers import (
    AutoImageProcessor,
    AutoModelForDepthEstimation,
    DepthAnythingConfig,
    DepthAnythingForDepthEstimation,
    Dinov2Config,
    DPTImageProcessor,
    GLPNConfig,
    GLPNForDepthEstimation,
    GLPNImageProcessor,
    VitPoseBackboneConfig,
    VitPoseConfig,
    VitPoseForPoseEstimation,
    VitPoseImageProcessor,
)

from t2vz.conditions import DepthFinder, PoseFinder, condition_frames, draw_skeleton, edges
from t2vz.conditions.pose import COLOURS, openpose_joints
from t2vz.errors import InputError
from t2vz.world import Scene, paint, paint_clip

cv2 = pytest.importorskip("cv2")
FRAME = paint(Scene("ball", "red", "meadow", 1, "", seed=3), 96)


def save(folder, model, processor):
    model.save_pretrained(folder)
    processor.save_pretrained(folder)
    return str(folder)


@pytest.fixture(scope="module")
def relative(tmp_path_factory):
    """A tiny Depth Anything with random weights, on disk: relative inverse depth."""
    torch.manual_seed(0)
    sizes = {"hidden_size": 16, "num_hidden_layers": 4, "num_attention_heads": 2, "patch_size": 14, "image_size": 56}
    backbone = Dinov2Config(**sizes, out_indices=[1, 2, 3, 4], reshape_hidden_states=False, apply_layernorm=True)
    sizes = {"reassemble_hidden_size": 16, "reassemble_factors": [4, 2, 1, 0.5], "neck_hidden_sizes": [8, 8, 8, 8]}
    sizes |= {"patch_size": 14, "fusion_hidden_size": 8, "head_hidden_size": 8}
    config = DepthAnythingConfig(backbone_config=backbone, **sizes)
    processor = DPTImageProcessor(size={"height": 56, "width": 56}, ensure_multiple_of=14, keep_aspect_ratio=True)
    return save(tmp_path_factory.mktemp("depth"), DepthAnythingForDepthEstimation(config), processor)


@pytest.fixture(scope="module")
def metric(tmp_path_factory):
    """A tiny GLPN with random weights, on disk: distances."""
    torch.manual_seed(1)
    sizes = {"depths": [1, 1], "sr_ratios": [4, 2], "hidden_sizes": [8, 8], "patch_sizes": [3, 3], "strides": [2, 2]}
    sizes |= {"num_encoder_blocks": 2, "num_attention_heads": [1, 1], "mlp_ratios": [2, 2], "decoder_hidden_size": 8}
    config = GLPNConfig(**sizes, head_in_index=-1)
    return save(tmp_path_factory.mktemp("glpn"), GLPNForDepthEstimation(config), GLPNImageProcessor())


@pytest.fixture(scope="module")
def pose(tmp_path_factory):
    """A tiny VitPose with random weights, on disk."""
    torch.manual_seed(2)
    sizes = {"image_size": [64, 48], "patch_size": [16, 16], "hidden_size": 16, "num_hidden_layers": 1}
    backbone = VitPoseBackboneConfig(**sizes, num_attention_heads=2, out_indices=[1])
    config = VitPoseConfig(backbone_config=backbone, num_labels=17, scale_factor=4)
    processor = VitPoseImageProcessor(size={"height": 64, "width": 48})
    return save(tmp_path_factory.mktemp("pose"), VitPoseForPoseEstimation(config), processor)


def test_edges_are_opencvs_on_the_frame():
    for seed, (low, high) in enumerate([(100, 200), (50, 60), (200, 400)]):
        frame = cv2.GaussianBlur(np.random.default_rng(seed).integers(0, 256, (40, 56, 3), dtype=np.uint8), (5, 5), 2)
        ours = edges(frame, low, high)
        assert ours.shape == frame.shape and ours.dtype == np.uint8
        assert all(np.array_equal(ours[..., c], cv2.Canny(frame, low, high)) for c in range(3))
    assert np.array_equal(edges(FRAME)[..., 0], cv2.Canny(FRAME, 100, 200))


def test_edges_of_a_square_are_its_outline():
    frame = np.zeros((64, 64, 3), np.uint8)
    frame[20:44, 20:44] = 255
    y, x = np.nonzero(edges(frame)[..., 0])
    distance = np.maximum(abs(x - 31.5), abs(y - 31.5))  # 12 on the outline
    assert len(x) > 80 and np.abs(distance - 12).max() < 1.5


def test_conditions_of_a_clip_are_those_of_its_frames_made_one_at_a_time():
    clip = paint_clip(Scene("car", "blue", "city", 1, "", seed=1), 64, 4)[0]
    made = []
    pictures = condition_frames(clip, lambda frame: made.append(1) or edges(frame))
    assert np.array_equal(next(pictures), edges(clip[0])) and len(made) == 1
    assert np.array_equal(np.stack(list(pictures)), np.stack([edges(frame) for frame in clip[1:]]))


@pytest.mark.parametrize("kind", ["relative", "metric"])
def test_depth_is_near_bright(kind, request):
    """Against the model called by hand: inverse depth as it is, distances turned round; scaled to 0 … 255."""
    folder = request.getfixturevalue(kind)
    picture = DepthFinder.load(folder)(FRAME)
    assert picture.shape == FRAME.shape and picture.dtype == np.uint8
    assert picture.min() == 0 and picture.max() == 255 and (np.ptp(picture, axis=-1) == 0).all()
    inputs = AutoImageProcessor.from_pretrained(folder)(FRAME, return_tensors="pt")
    with torch.no_grad():
        depth = AutoModelForDepthEstimation.from_pretrained(folder).eval()(**inputs).predicted_depth[None]
    depth = torch.nn.functional.interpolate(depth, FRAME.shape[:2], mode="bicubic")[0, 0].numpy()
    likeness = np.corrcoef(depth.ravel(), picture[..., 0].ravel())[0, 1]
    assert likeness > 0.999 if kind == "relative" else likeness < -0.999


def test_depth_without_any_relief_is_black(relative):
    find = DepthFinder.load(relative)
    for weight in find.model.parameters():
        weight.zero_()
    assert not find(FRAME).any()


def test_poses_are_found_and_drawn_at_the_frames_size(pose):
    find = PoseFinder.load(pose)
    points, scores = find.find(FRAME)
    assert points.shape == (17, 2) and scores.shape == (17,)
    assert np.array_equal(find(FRAME), draw_skeleton(points, scores, *FRAME.shape[:2]))
    assert find(FRAME[:80]).shape == (80, 96, 3)


# A person who stands, seen from the front: COCO's order, x and then y.
X = (256, 266, 246, 280, 232, 310, 202, 330, 182, 340, 172, 290, 222, 292, 220, 294, 218)
Y = (100, 90, 90, 96, 96, 160, 160, 240, 240, 310, 310, 300, 300, 400, 400, 490, 490)
STANDING = np.array([X, Y], dtype=float).T


def test_a_skeleton_stands_where_the_joints_are():
    picture = draw_skeleton(STANDING, np.ones(17), 512, 512)
    joints = openpose_joints(STANDING, np.ones(17))
    # the neck, the right shoulder and the left, the right eye, the left ear
    assert joints[[1, 2, 5, 14, 17]].tolist() == [[256, 160], [202, 160], [310, 160], [246, 90], [280, 96]]
    for (a, b), colour in [((2, 3), COLOURS[2]), ((11, 12), COLOURS[10]), ((1, 0), COLOURS[12])]:
        x, y = ((joints[a][i] + joints[b][i]) / 2 for i in (0, 1))
        assert np.abs(picture[int(y), int(x)] - 0.6 * np.array(colour)).max() <= 1  # a limb: 60 % of its colour
    drawn = picture.any(axis=-1)
    y, x = np.nonzero(drawn)
    assert x.min() > 160 and x.max() < 352 and y.min() > 80 and y.max() < 500
    assert not picture[:, :, :][~drawn].any() and 0.02 < drawn.mean() < 0.12


def test_what_is_not_seen_is_not_drawn():
    scores = np.ones(17)
    scores[[7, 9]] = 0.1  # the left arm
    whole, without = draw_skeleton(STANDING, np.ones(17), 512, 512), draw_skeleton(STANDING, scores, 512, 512)
    assert whole[270:320, 325:350].any() and not without[200:320, 325:350].any()
    assert np.array_equal(whole[330:], without[330:])
    assert not draw_skeleton(STANDING, np.zeros(17), 64, 64).any()


def test_skeletons_of_small_pictures_are_thin():
    thick = [draw_skeleton(STANDING * size / 512, np.ones(17), size, size).any(axis=-1).mean() for size in (512, 128)]
    assert 0.7 < thick[1] / thick[0] < 1.6


@pytest.mark.parametrize("finder, words", [(DepthFinder, "depth-estimation"), (PoseFinder, "pose")])
def test_a_model_that_is_not_there_is_one_line(finder, words, tmp_path, relative, pose, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    (tmp_path / "empty").mkdir()
    other = pose if finder is DepthFinder else relative
    for name in (str(tmp_path / "nowhere"), str(tmp_path / "empty"), other):
        with pytest.raises(InputError) as refusal:
            finder.load(name)
        assert words in str(refusal.value) and name in str(refusal.value) and "\n" not in str(refusal.value)


def test_without_opencv_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "cv2", None)
    with pytest.raises(InputError, match=r"pip install 't2vz\[control\]'"):
        edges(FRAME)
