"""LoRA files: every naming in use gives the same weights, convolutions are two in a row, and nothing is half used."""

import json
import math

import pytest
import torch
from safetensors.torch import load_file, save_file
from tiny import refused
from torch.nn.functional import conv2d

from t2vz import StableDiffusion

RANK = 4
TO_Q = "down_blocks.0.attentions.0.transformer_blocks.0.attn1.to_q"
TO_OUT = "up_blocks.1.attentions.0.transformer_blocks.0.attn2.to_out.0"
CONV = "down_blocks.0.resnets.0.conv1"
PROJ = "mid_block.attentions.0.proj_in"
Q_PROJ = "text_model.encoder.layers.1.self_attn.q_proj"
FC1 = "text_model.encoder.layers.0.mlp.fc1"

# The same modules as a trainer of the original code would call them.
ORIGINAL = {
    TO_Q: "input_blocks.1.1.transformer_blocks.0.attn1.to_q",
    CONV: "input_blocks.1.0.in_layers.2",
    TO_OUT: "output_blocks.2.1.transformer_blocks.0.attn2.to_out.0",
    PROJ: "middle_block.1.proj_in",
}


@pytest.fixture(scope="module")
def base(models):
    return weights(StableDiffusion.load(models / "tiny"))


@pytest.fixture
def merge(models, tmp_path):
    """merge(tensors, weight, metadata, name): the model's weights with a LoRA of these tensors; by its file's name."""

    def merged(tensors, weight=1.0, metadata=None, name="lora.safetensors"):
        save_file(tensors, tmp_path / name, metadata)
        return weights(StableDiffusion.load(models / "tiny", loras=[(tmp_path / name, weight)]))

    return merged


def weights(sd):
    """All weights of UNet and text tower by the folder layout's names."""
    text = {f"text_model.{name.removeprefix('text_model.')}": t for name, t in sd.text_encoder.state_dict().items()}
    return {**sd.unet.state_dict(), **text}


def factors(base, module, seed, rank=RANK):
    """down (r, i, …) and up (o, r, 1, 1 …) for a module's weight."""
    generator = torch.Generator().manual_seed(seed)
    out, *rest = base[f"{module}.weight"].shape
    down = torch.randn(rank, *rest, generator=generator)
    return down, torch.randn(out, rank, *[1] * (len(rest) - 1), generator=generator)


def kohya(module):
    return f"lora_{'te' if module.startswith('text_model') else 'unet'}_" + module.replace(".", "_")


def original(module):
    return "lora_unet_" + ORIGINAL[module].replace(".", "_") if module in ORIGINAL else kohya(module)


def comfy(module):
    text = module.startswith("text_model")
    return f"text_encoders.clip_l.transformer.{module}" if text else f"diffusion_model.{ORIGINAL[module]}"


def dotted(module, short=False):
    if module.startswith("text_model"):
        return "text_encoder." + (module.removeprefix("text_model.") if short else module)
    return f"unet.{module}"


def attn_processor(module):
    """Older diffusers: unet.….attn1.processor.to_q_lora.down.weight; nothing but attention can be said so."""
    place, _, name = module.removesuffix(".0").rpartition(".")
    return f"unet.{place}.processor.{name}_lora"


def named(name, first="lora_down", second="lora_up"):
    """A way of writing: (module, down, up) -> {key: tensor}, by the module's name and those of the two factors."""
    return lambda m, down, up: {f"{name(m)}.{first}.weight": down, f"{name(m)}.{second}.weight": up}


STYLES = {
    "kohya": named(kohya),
    "original names": named(original),
    "peft": named(dotted, "lora_A", "lora_B"),
    "peft, adapter named": named(lambda m: f"base_model.model.{dotted(m)}", "lora_A.default", "lora_B.default"),
    "peft, named my-style": named(lambda m: f"base_model.model.{dotted(m)}", "lora_A.my-style", "lora_B.my-style"),
    "transformers 5": named(lambda m: dotted(m, True), "lora_A", "lora_B"),
    "torch.compile, kohya": named(lambda m: kohya(m).replace("lora_unet_", "lora_unet__orig_mod_")),
    "torch.compile, peft": named(lambda m: dotted(m).replace("unet.", "unet._orig_mod."), "lora_A", "lora_B"),
    "ComfyUI": named(comfy),
    "ComfyUI, peft": named(comfy, "lora_A", "lora_B"),
    "diffusers, older": named(dotted, "lora.down", "lora.up"),
    "diffusers, text": named(dotted, "lora_linear_layer.down", "lora_linear_layer.up"),
    "attention processors": named(attn_processor, "down", "up"),
}


def expected(base, module, down, up, scale):
    """W + scale · Σ_r up[o, r] · down[r, …], in float64."""
    change = torch.einsum("or, r... -> o...", up.flatten(1).double(), down.double())
    return base[f"{module}.weight"].double() + scale * change.reshape(base[f"{module}.weight"].shape)


def assert_close(ours, theirs):
    assert float((ours.double() - theirs).norm() / theirs.norm()) < 1e-6


@pytest.mark.parametrize("style", STYLES)
def test_every_naming_gives_the_same_weights(merge, base, style):
    modules = [TO_Q, TO_OUT] if style == "attention processors" else [TO_Q, TO_OUT, CONV, PROJ, Q_PROJ, FC1]
    tensors, changed = {}, {}
    for seed, module in enumerate(modules):
        down, up = factors(base, module, seed)
        tensors |= STYLES[style](module, down, up)
        changed[f"{module}.weight"] = expected(base, module, down, up, 0.75)
    merged = merge(tensors, 0.75)
    for name, weight in merged.items():
        if name in changed:
            assert_close(weight, changed[name])
        else:
            assert torch.equal(weight, base[name]), f"{name} should not have changed"


@pytest.mark.parametrize("where", ["peft", "the model"])
def test_a_second_adapter_is_added_to_the_first(merge, base, where):
    """up·down + (3 up)·(2 down) = 7 up·down, whatever the adapters are called."""
    down, up = factors(base, TO_Q, 1)
    names = (f"base_model.model.{dotted(TO_Q)}", f"base_model.model.{dotted(TO_Q)}")
    if where == "the model":  # one module under two names
        names = (dotted(TO_Q), TO_Q)
    tensors = {
        f"{names[0]}.lora_A.default.weight": down,
        f"{names[0]}.lora_B.default.weight": up,
        f"{names[1]}.lora_A.second.weight": 2 * down,
        f"{names[1]}.lora_B.second.weight": 3 * up,
    }
    merged = merge(tensors)
    assert_close(merged[f"{TO_Q}.weight"], expected(base, TO_Q, down, up, 7.0))


@pytest.mark.parametrize("kind", ["3×3", "1×1", "1×1 as matrices", "3×3 in three"])
def test_a_merged_convolution_is_the_lora_s_convolutions_beside_it(merge, base, kind):
    """conv(x, W + s·up·down) = conv(x, W) + s · conv(conv(x, down), up), as a trainer computes it."""
    module = PROJ if "1×1" in kind else CONV
    down, up = factors(base, module, 5)
    generator = torch.Generator().manual_seed(6)
    tensors = {f"{kohya(module)}.lora_down.weight": down, f"{kohya(module)}.lora_up.weight": up}
    if kind == "1×1 as matrices":
        tensors = {key: tensor.flatten(1) for key, tensor in tensors.items()}
    chain = [down, up]
    if kind == "3×3 in three":
        chain = [down[:, :, :1, :1], torch.randn(RANK, RANK, 3, 3, generator=generator), up]
        tensors = {
            f"{kohya(module)}.lora_{role}.weight": tensor.contiguous()
            for role, tensor in zip(("down", "mid", "up"), chain, strict=True)
        }
    merged = merge(tensors | {f"{kohya(module)}.alpha": torch.tensor(2.0)}, 0.5)[f"{module}.weight"]
    x = torch.randn(1, merged.shape[1], 6, 6, generator=generator)
    beside = x
    for weight in chain:
        beside = conv2d(beside, weight, padding=weight.shape[-1] // 2)
    wanted = conv2d(x, base[f"{module}.weight"], padding=merged.shape[-1] // 2) + 0.5 * (2.0 / RANK) * beside
    assert_close(conv2d(x, merged, padding=merged.shape[-1] // 2), wanted.double())


def test_an_alpha_may_be_a_whole_number(merge, base):
    """As diffusers' own converter to kohya's names writes it."""
    down, up = factors(base, TO_Q, 5)
    tensors = {f"{kohya(TO_Q)}.lora_down.weight": down, f"{kohya(TO_Q)}.lora_up.weight": up}
    merged = [merge(tensors | {f"{kohya(TO_Q)}.alpha": torch.tensor(alpha)}) for alpha in (3, 3.0)]
    assert torch.equal(merged[0][f"{TO_Q}.weight"], merged[1][f"{TO_Q}.weight"])
    assert not torch.equal(merged[0][f"{TO_Q}.weight"], base[f"{TO_Q}.weight"])


def test_several_add_up_and_loading_again_takes_them_away(models, base, tmp_path):
    before = {file: file.read_bytes() for file in sorted((models / "tiny").rglob("*.safetensors"))}
    wanted = base[f"{TO_Q}.weight"].double()
    loras = []
    for seed, weight in ((1, 0.8), (2, -0.3)):
        down, up = factors(base, TO_Q, seed, rank=seed + 1)
        save_file(STYLES["kohya"](TO_Q, down, up), tmp_path / f"{seed}.safetensors")
        loras.append((tmp_path / f"{seed}.safetensors", weight))
        wanted = wanted + expected(base, TO_Q, down, up, weight) - base[f"{TO_Q}.weight"].double()
    merged = weights(StableDiffusion.load(models / "tiny", loras=loras))
    assert_close(merged[f"{TO_Q}.weight"], wanted)
    assert before == {file: file.read_bytes() for file in sorted((models / "tiny").rglob("*.safetensors"))}
    again = weights(StableDiffusion.load(models / "tiny"))
    zero = weights(StableDiffusion.load(models / "tiny", loras=[(loras[0][0], 0.0)]))
    assert all(torch.equal(again[name], base[name]) and torch.equal(zero[name], base[name]) for name in base)


def test_in_half_precision_the_sum_is_rounded_once(models, base, tmp_path):
    down, up = factors(base, TO_Q, 3)
    save_file(STYLES["peft"](TO_Q, down.half(), up.half()), tmp_path / "lora.safetensors")
    sd = StableDiffusion.load(models / "tiny", torch.float16, loras=[(tmp_path / "lora.safetensors", 1.0)])
    wanted = base[f"{TO_Q}.weight"] + up.half().float() @ down.half().float()
    assert torch.equal(weights(sd)[f"{TO_Q}.weight"], wanted.half())


@pytest.mark.parametrize(
    "settings, scale",
    [
        ({"unet.lora_alpha": 8, "unet.r": RANK}, 8 / RANK),
        ({"lora_alpha": 6}, 6 / RANK),
        ({"unet.lora_alpha": 8, "unet.alpha_pattern": {"attn1.to_q": 1}}, 1 / RANK),
        ({"unet.lora_alpha": 8, "unet.alpha_pattern": {"to_k": 1}}, 8 / RANK),
        ({"unet.lora_alpha": 8, "unet.use_rslora": True}, 8 / math.sqrt(RANK)),
        ({"text_encoder.lora_alpha": 8}, 1.0),
    ],
)
def test_alphas_of_peft_are_in_the_header(merge, base, settings, scale):
    down, up = factors(base, TO_Q, 4)
    merged = merge(STYLES["peft"](TO_Q, down, up), metadata={"lora_adapter_metadata": json.dumps(settings)})
    assert_close(merged[f"{TO_Q}.weight"], expected(base, TO_Q, down, up, scale))


def test_alpha_of_peft_s_own_folder_is_in_the_config_beside_it(merge, base, tmp_path):
    down, up = factors(base, TO_Q, 4)
    tensors = {f"base_model.model.{TO_Q}.lora_A.weight": down, f"base_model.model.{TO_Q}.lora_B.weight": up}
    (tmp_path / "adapter_config.json").write_text(json.dumps({"lora_alpha": 12, "r": RANK}))
    merged = merge(tensors, name="adapter_model.safetensors")
    assert_close(merged[f"{TO_Q}.weight"], expected(base, TO_Q, down, up, 12 / RANK))


def pair(module, down, up):
    return {f"{module}.lora_down.weight": torch.ones(down), f"{module}.lora_up.weight": torch.ones(up)}


def adapter(name, rank):
    down, up = f"unet.{TO_Q}.lora_A.{name}.weight", f"unet.{TO_Q}.lora_B.{name}.weight"
    return {down: torch.ones(rank, 32), up: torch.ones(32, rank)}


GOOD = pair(kohya(TO_Q), (RANK, 32), (32, RANK))
TO_K = "lora_unet_down_blocks_0_attentions_0_transformer_blocks_0_attn2_to_k"


@pytest.mark.parametrize(
    "tensors, words",
    [
        (GOOD | pair("lora_te2_text_model_encoder_layers_0_mlp_fc1", (4, 64), (128, 4)), "made for SDXL"),
        (pair(TO_K, (4, 2048), (32, 4)), r"SDXL \(text states of 2048\)"),
        (pair(TO_K, (4, 1024), (32, 4)), "Stable Diffusion 2.x"),
        (pair(TO_K, (4, 768), (32, 4)), r"Stable Diffusion 1.x \(text states of 768\), and .* reads text states of 64"),
        (pair(kohya(TO_Q), (4, 320), (320, 4)), r"\[4, 320\] and \[320, 4\].*\[32, 32\]"),
        (pair(kohya(TO_Q), (4, 32), (32, 8)), "another model"),
        (pair(kohya(TO_Q), (4,), (32, 4)), "another model"),
        (GOOD | pair("lora_unet_down_blocks_7_resnets_0_conv1", (4, 32), (32, 4)), "another model.*down_blocks_7"),
        (GOOD | {f"{kohya(FC1)}.hada_w1_a": torch.ones(2, 2)}, "hada_w1_a; LoHa"),
        (GOOD | {f"{kohya(FC1)}.lokr_w1": torch.ones(2, 2)}, "LoKr"),
        (GOOD | {f"{kohya(TO_Q)}.dora_scale": torch.ones(2, 2)}, "DoRA"),
        (GOOD | {f"{kohya(FC1)}.diff": torch.ones(2, 2)}, "file of differences"),
        (GOOD | {"unet.x.lora_B.bias": torch.ones(2)}, "LoRA with biases"),
        (GOOD | {"something.else": torch.ones(2)}, "something.else; these are no part of a LoRA"),
        ({f"{kohya(TO_Q)}.lora_down.weight": torch.ones(4, 32)}, "half of these pairs"),
        (GOOD | {f"{kohya(FC1)}.alpha": torch.ones(())}, "half of these pairs"),
        (GOOD | {f"{kohya(TO_Q)}.alpha": torch.ones(2)}, "make no sense"),
        (GOOD | {f"{kohya(TO_Q)}.lora_A.weight": torch.ones(RANK, 32)}, "lora_down.weight are the same factor"),
        (pair(kohya(TO_Q), (0, 32), (32, 0)), "has rank 0"),
        (pair(kohya(TO_Q), (), (32, 1)), "has rank 0"),
        (adapter("one", 0) | adapter("two", RANK), "has rank 0"),
        (
            pair("lora_unet_double_blocks_0_img_attn_qkv", (4, 8), (8, 4)) | pair("lora_te1_x", (4, 8), (8, 4)),
            "for Flux",
        ),
        (pair("transformer.single_transformer_blocks.0.attn.to_q", (4, 8), (8, 4)), "for Flux"),
        (pair("lora_unet_joint_blocks_0_x", (4, 8), (8, 4)), "Stable Diffusion 3"),
        (pair("down_blocks.0.motion_modules.0.x", (4, 8), (8, 4)), "AnimateDiff"),
        ({"lora_controlnet": torch.ones(0), "input_blocks.1.0.in_layers.2.up": torch.ones(2, 2)}, "a control-LoRA"),
        (GOOD | {f"{kohya(TO_Q)}.lora_up.weight": torch.full((32, RANK), math.nan)}, "NaN"),
    ],
)
def test_what_is_no_lora_for_this_model_is_refused_in_one_line(merge, tensors, words):
    refused(lambda: merge(tensors), words, "lora.safetensors")


@pytest.mark.parametrize(
    "metadata",
    ["{", "[1]", '{"unet.lora_alpha": "much"}', '{"unet.alpha_pattern": {"(": 1}}', '{"unet.use_dora": true}'],
)
def test_settings_that_make_no_sense_are_refused(merge, base, metadata):
    tensors = STYLES["peft"](TO_Q, *factors(base, TO_Q, 4))
    refused(lambda: merge(tensors, metadata={"lora_adapter_metadata": metadata}), "settings")


def test_no_lora_at_all(models, tmp_path):
    save_file(GOOD, tmp_path / "good.safetensors")
    for path, words in (
        (models / "tiny/unet/diffusion_pytorch_model.safetensors", "no part of a LoRA"),
        (tmp_path / "none.safetensors", "no such file"),
        (tmp_path / "lora.pt", "pickle"),
        (tmp_path, "is a folder, and a LoRA is a file; give .*good.safetensors"),
        ((tmp_path / "good.safetensors", math.nan), "its weight is nan"),
        ((tmp_path / "good.safetensors", "0.5"), "its weight is '0.5'"),
    ):
        refused(lambda path=path: StableDiffusion.load(models / "tiny", loras=[path]), words)
    assert load_file(tmp_path / "good.safetensors").keys() == GOOD.keys()
