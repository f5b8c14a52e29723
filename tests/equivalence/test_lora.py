"""LoRA-merged weights, and what the networks then compute, against diffusers' load_lora_weights and fuse_lora."""

from copy import deepcopy

import pytest
import torch
from safetensors.torch import save_file
from twins import PROMPT, predict, relative

from t2vz import StableDiffusion


@pytest.fixture
def pipe(saved):
    """diffusers' pipeline on the tiny model, float32."""
    from diffusers import StableDiffusionPipeline

    made = StableDiffusionPipeline.from_pretrained(saved["ours"], local_files_only=True, torch_dtype=torch.float32)
    made.set_progress_bar_config(disable=True)
    return made


def random(*shape, seed):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed)) / 4


def write_kohya(pipe, path, rank, alpha, seed, convolutions=True):
    """A file as kohya's trainer writes it: all attention and feed-forward layers, LoCon's convolutions, the text."""
    tensors = {}
    for prefix, network in (("lora_unet_", pipe.unet), ("lora_te_text_model_", pipe.text_encoder)):
        for name, module in network.named_modules():
            linear = isinstance(module, torch.nn.Linear) and "time" not in name
            conv = isinstance(module, torch.nn.Conv2d) and convolutions and name not in ("conv_in", "conv_out")
            if not linear and not conv:
                continue
            out, *rest = module.weight.shape
            stem = prefix + name.removeprefix("text_model.").replace(".", "_")
            seed += 2
            tensors[f"{stem}.lora_down.weight"] = random(rank, *rest, seed=seed)
            tensors[f"{stem}.lora_up.weight"] = random(out, rank, *[1] * (len(rest) - 1), seed=seed + 1)
            tensors[f"{stem}.alpha"] = torch.tensor(float(alpha))
    save_file(tensors, path)
    return path


def write_peft(pipe, folder, seed):
    """A file as diffusers' training scripts write it, by peft's and diffusers' own code."""
    from diffusers import StableDiffusionPipeline
    from peft import LoraConfig
    from peft.utils import get_peft_model_state_dict

    layers, settings = {}, {}
    for part, network, targets in (
        ("unet", pipe.unet, ["to_k", "to_q", "to_v", "to_out.0", "conv1", "proj_in"]),
        ("text_encoder", pipe.text_encoder, ["q_proj", "out_proj", "fc1"]),
    ):
        trained = deepcopy(network)
        trained.add_adapter(LoraConfig(r=4, lora_alpha=10, target_modules=targets))
        state = get_peft_model_state_dict(trained)
        layers[f"{part}_lora_layers"] = {
            key: random(*tensor.shape, seed=seed + n) for n, (key, tensor) in enumerate(sorted(state.items()))
        }
        settings[f"{part}_lora_adapter_metadata"] = trained.peft_config["default"].to_dict()
    StableDiffusionPipeline.save_lora_weights(folder, **layers, **settings)
    return folder / "pytorch_lora_weights.safetensors"


def compare(measured, pipe, saved, loras, name):
    """Weights one by one, then a UNet call and the text states."""
    sd = StableDiffusion.load(saved["ours"], loras=loras)
    plain = StableDiffusion.load(saved["ours"])
    worst, changed = 0.0, 0
    for ours, base, theirs in (
        (sd.unet, plain.unet, pipe.unet),
        (sd.text_encoder, plain.text_encoder, pipe.text_encoder),
    ):
        fused = theirs.state_dict()
        if theirs is pipe.text_encoder:  # transformers 5 leaves the published names' first part out
            fused = {f"text_model.{key.removeprefix('text_model.')}": tensor for key, tensor in fused.items()}
        assert fused.keys() == ours.state_dict().keys()
        for key, weight in ours.state_dict().items():
            worst = max(worst, relative(weight, fused[key]))
            changed += not torch.equal(weight, base.state_dict()[key])
    measured(f"{name}: weights ({changed} changed)", worst, 1e-6)
    assert changed > 20

    x, context = 4 * random(1, 2, 4, 8, 8, seed=3), sd.encode_text([PROMPT])
    with torch.no_grad():
        ids = torch.stack([sd.tokenizer.encode(PROMPT).ids])
        measured(f"{name}: text states", relative(context, pipe.text_encoder(ids).last_hidden_state), 1e-5)
        ours, theirs = sd.unet(x, 501, context), predict(pipe.unet, x, 501, context)
        measured(f"{name}: UNet", relative(ours, theirs), 1e-5)
        # and the LoRA does something, in both parts
        assert relative(ours, plain.unet(x, 501, context)) > 0.01
        assert relative(context, plain.encode_text([PROMPT])) > 0.01


@pytest.mark.parametrize("name", ["kohya", "peft", "kohya and peft"])
def test_merged_as_theirs_are_fused(name, pipe, saved, measured, tmp_path):
    """One file, and two at once with weights of their own."""
    style = tmp_path / "style.safetensors"
    loras = {
        "kohya": lambda: [(write_kohya(pipe, style, 4, 2, seed=10), 0.7)],
        "peft": lambda: [(write_peft(pipe, tmp_path, seed=20), 0.7)],
        "kohya and peft": lambda: [
            (write_kohya(pipe, style, 3, 3, seed=30, convolutions=False), 0.5),
            (write_peft(pipe, tmp_path, seed=40), -0.25),
        ],
    }[name]()
    adapters = [f"lora{n}" for n in range(len(loras))]
    for adapter, (path, _) in zip(adapters, loras, strict=True):
        pipe.load_lora_weights(str(path.parent), weight_name=path.name, adapter_name=adapter)
    pipe.set_adapters(adapters, [weight for _, weight in loras])
    pipe.fuse_lora(adapter_names=adapters)
    pipe.unload_lora_weights()
    compare(measured, pipe, saved, loras, name)
