"""Inspecting: SD 1.5's published names at full size on headers alone; relatives; what is missing; what is broken."""

import json
import shutil
from dataclasses import replace
from math import prod
from random import Random

import pytest
import torch
from safetensors.torch import load_file, save_file
from tiny import UNET, refused, tiny_sd, tiny_tokenizer

from t2vz.checkpoints import build, inspect, open_checkpoint, save_folder, save_single_file
from t2vz.cli import main
from t2vz.errors import InputError
from t2vz.unet import ControlNetConfig

BYTES = {"F16": 2, "F32": 4, "I64": 8}
POSITION_IDS = "cond_stage_model.transformer.text_model.embeddings.position_ids"


def sparse(path, shapes, dtype="F16", metadata=None):
    """A safetensors file of these shapes whose tensors are a hole: the header is real, the gigabytes are not."""
    header, end = {"__metadata__": metadata} if metadata else {}, 0
    for key, shape in shapes.items():
        kind = dtype[key] if isinstance(dtype, dict) else dtype
        start, end = end, end + prod(shape) * BYTES[kind]
        header[key] = {"dtype": kind, "shape": list(shape), "data_offsets": [start, end]}
    text = json.dumps(header).encode()
    with path.open("wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        file.truncate(8 + len(text) + end)
    return path


def single_file(manifest):
    return {row[1]: row[2] for row in manifest.rows}


def by_name(report):
    return {part["name"]: part for part in report["parts"]}


def test_sd15_as_a_single_file(manifest, tmp_path):
    report = inspect(sparse(tmp_path / "sd15.safetensors", single_file(manifest), "F16", {"modelspec.title": "SD"}))
    assert (report["kind"], report["layout"], report["what"]) == ("sd1", "single-file", "Stable Diffusion 1.x")
    assert report["metadata"] == {"modelspec.title": "SD"} and report["files"] == 1
    parts = by_name(report)
    for name in ("unet", "vae", "text"):
        assert parts[name]["parameters"] == manifest.parameters[name] and parts[name]["dtypes"] == {
            "F16": manifest.parameters[name]
        }
        assert [parts[name][fault] for fault in ("missing", "extra", "misshaped", "problem")] == [[], [], [], None]
    sizes = parts["unet"]["sizes"]
    assert (sizes["block_out_channels"], sizes["heads"], sizes["norm_groups"]) == ([320, 640, 1280, 1280], [8] * 4, 32)
    assert sizes["context_dim"] == 768 and parts["vae"]["sizes"]["scaling_factor"] == 0.18215
    assert (parts["text"]["sizes"]["num_attention_heads"], parts["text"]["sizes"]["vocab_size"]) == (12, 49408)
    assert any("1.x's rules" in note for note in report["notes"])  # the heads are a guess, and it says so


def test_what_is_missing_extra_and_misshaped_is_named(manifest, tmp_path):
    shapes = single_file(manifest)
    shapes.pop("model.diffusion_model.out.2.bias")
    shapes["model.diffusion_model.out.7.bias"] = [3]
    shapes["model.diffusion_model.time_embed.2.bias"] = [1281]
    shapes["first_stage_model.loss.logvar"] = [1]
    shapes["who_knows.weight"] = [1]
    report = inspect(sparse(tmp_path / "odd.safetensors", shapes))
    unet = by_name(report)["unet"]
    assert unet["missing"] == ["conv_out.bias"] and unet["extra"] == ["model.diffusion_model.out.7.bias"]
    assert unet["misshaped"] == ["time_embedding.linear_2.bias [1281] for [1280]"]
    assert report["dropped"] == [POSITION_IDS, "first_stage_model.loss.logvar"]
    assert report["strange"] == ["who_knows.weight"]


def test_a_pruned_file_without_vae_and_text(manifest, tmp_path):
    shapes = {key: shape for key, shape in single_file(manifest).items() if key.startswith("model.diffusion_model.")}
    report = inspect(sparse(tmp_path / "unet.safetensors", shapes))
    assert list(by_name(report)) == ["unet"]
    assert {"it holds no vae", "it holds no text"} <= set(report["notes"])
    shapes.pop("model.diffusion_model.middle_block.1.transformer_blocks.0.attn2.to_k.weight")
    report = inspect(sparse(tmp_path / "unet.safetensors", shapes))
    assert "mid_block.attentions.0" in by_name(report)["unet"]["problem"]  # no size can be read off it


def test_an_instruct_pix2pix_file(manifest, tmp_path):
    shapes = single_file(manifest) | {
        "model.diffusion_model.input_blocks.0.0.weight": [320, 8, 3, 3],
        "model_ema.diffusion_modelinput_blocks00weight": [320, 8, 3, 3],
    }
    report = inspect(sparse(tmp_path / "ip2p.safetensors", shapes))
    assert report["kind"] == "instruct-pix2pix" and by_name(report)["unet"]["sizes"]["in_channels"] == 8
    assert any("moving average" in note for note in report["notes"])
    assert by_name(report)["unet"]["missing"] == []


@pytest.mark.parametrize("names", ["single-file", "folder"])
def test_controlnets(manifest, tmp_path, names):
    shapes = {row[1 if names == "single-file" else 3]: row[2] for row in manifest.controlnet}
    report = inspect(sparse(tmp_path / "control_canny.safetensors", shapes, "F32"))
    assert (report["kind"], report["layout"]) == ("controlnet", names)
    (part,) = report["parts"]
    assert part["parameters"] == manifest.parameters["ControlNet"] and part["missing"] == part["extra"] == []
    sizes = {name: tuple(value) if isinstance(value, list) else value for name, value in part["sizes"].items()}
    assert sizes == vars(ControlNetConfig())


@pytest.mark.parametrize("part, kind", [("vae", "vae"), ("text", "text")])
def test_parts_alone(manifest, tmp_path, part, kind):
    shapes = {row[3]: row[4] for row in manifest.rows if row[0] == part}
    report = inspect(sparse(tmp_path / "part.safetensors", shapes))
    assert report["kind"] == kind
    assert report["parts"][0]["missing"] == [] and report["parts"][0]["parameters"] == manifest.parameters[part]
    assert any("1.x's rules" in note for note in report["notes"])


def test_float_types_are_counted_by_their_numbers(manifest, tmp_path):
    shapes = single_file(manifest)
    dtypes = {key: "F32" if key.startswith("first_stage") else "F16" for key in shapes} | {POSITION_IDS: "I64"}
    report = inspect(sparse(tmp_path / "mixed.safetensors", shapes, dtypes))
    unet, vae, text = (manifest.parameters[name] for name in ("unet", "vae", "text"))
    assert report["dtypes"] == {"F16": unet + text, "F32": vae, "I64": 77}


def test_a_single_file_says_its_sizes_and_a_folder_its_faults(tmp_path):
    sd = tiny_sd(tmp_path, unet=replace(UNET, block_out_channels=(24, 48), heads=(2, 4), norm_groups=6))
    save_single_file(tmp_path / "one.safetensors", sd.unet, sd.vae, sd.text_encoder)
    report = inspect(tmp_path / "one.safetensors")
    sizes = by_name(report)["unet"]["sizes"]
    assert (sizes["heads"], sizes["norm_groups"], sizes["sample_size"]) == ([2, 4], 6, 8)
    assert any("t2vz.unet" in note for note in report["notes"])
    folder = tmp_path / "model"
    save_folder(folder, sd.unet, sd.vae, sd.text_encoder, tiny_tokenizer(tmp_path), words={"things": ["ball"]})
    report = inspect(folder)
    parts = by_name(report)
    assert (report["kind"], report["layout"], report["files"]) == ("sd1", "folder", 3)
    assert parts["unet"]["sizes"]["heads"] == [2, 4] and parts["unet"]["sizes"]["norm_groups"] == 6
    assert parts["scheduler"]["sizes"]["train_steps"] == 1000 and "words.json" in " ".join(report["notes"])
    for part in ("unet", "vae", "text"):
        assert parts[part]["missing"] == parts[part]["extra"] == [] and parts[part]["problem"] is None
    assert inspect(folder / "unet")["what"] == "Stable Diffusion 1.x: its UNet alone"
    assert inspect(folder / "text_encoder")["parts"][0]["missing"] == []

    config = json.loads((folder / "unet/config.json").read_text())
    (folder / "unet/config.json").write_text(json.dumps(config | {"layers_per_block": 2}))
    (folder / "vae/config.json").write_text("{")
    (folder / "tokenizer/vocab.json").unlink()
    report = inspect(folder)
    parts = by_name(report)
    assert "layers_per_block = 2" in parts["unet"]["problem"]
    assert "not JSON" in parts["vae"]["problem"] and "vocab.json" in parts["tokenizer"]["problem"]


def lora(module, rank, width, out=320):
    return {f"{module}.lora_down.weight": torch.ones(rank, width), f"{module}.lora_up.weight": torch.ones(out, rank)}


def test_loras(tmp_path):
    block = "down_blocks_0_attentions_0_transformer_blocks_0"
    tensors = {
        **lora(f"lora_unet_{block}_attn1_to_q", 8, 320),
        **lora(f"lora_unet_{block}_attn2_to_k", 4, 768),
        **lora("lora_te_text_model_encoder_layers_0_mlp_fc1", 4, 768, 3072),
        f"lora_unet_{block}_attn1_to_q.alpha": torch.tensor(4.0),
    }
    save_file(tensors, tmp_path / "style.safetensors", {"ss_network_dim": "8"})
    report = inspect(tmp_path / "style.safetensors")
    found = report["lora"]
    assert report["kind"] == "lora" and report["metadata"] == {"ss_network_dim": "8"}
    assert (found["names"], found["made_for"], found["text_width"]) == ("kohya", "Stable Diffusion 1.x", 768)
    assert found["modules"] == {"unet": 2, "text": 1} and found["ranks"] == {4: 2, 8: 1}
    assert found["targets"] == {"self-attention": 1, "text attention": 1, "feed-forward": 1}
    assert found["scales"] == {"1": 2, "0.5": 1}  # alpha 4 over rank 8; no alpha is 1

    peft = {
        "unet.down_blocks.0.attentions.0.transformer_blocks.0.attn2.to_v.lora_A.weight": torch.ones(4, 2048),
        "unet.down_blocks.0.attentions.0.transformer_blocks.0.attn2.to_v.lora_B.weight": torch.ones(320, 4),
    }
    save_file(peft, tmp_path / "xl.safetensors")
    found = inspect(tmp_path / "xl.safetensors")["lora"]
    assert (found["names"], found["made_for"]) == ("peft", "SDXL")
    save_file({"lora_unet_x.hada_w1_a": torch.ones(2, 2)}, tmp_path / "loha.safetensors")
    found = inspect(tmp_path / "loha.safetensors")["lora"]
    assert found["method"] == "LoHa" and "LoHa" in found["problem"]


@pytest.mark.parametrize(
    "key, kind, group",
    [
        ("conditioner.embedders.1.model.ln_final.bias", "sdxl", "conditioner.embedders"),
        ("cond_stage_model.model.ln_final.bias", "sd2", "cond_stage_model.model"),
        ("model.diffusion_model.joint_blocks.0.x_block.attn.qkv.weight", "sd3", "model.diffusion_model"),
        ("some.thing.else", "unknown", "some.thing"),
    ],
)
def test_other_models_are_named_and_their_keys_grouped(tmp_path, key, kind, group):
    report = inspect(sparse(tmp_path / "other.safetensors", {key: [2, 2], "x": [1]}))
    assert report["kind"] == kind and report["groups"][group] == 1 and report["parts"] == []
    assert "does not run this" in report["notes"][-1]


def test_a_folder_that_is_nothing(tmp_path):
    refused(lambda: inspect(tmp_path), "neither a checkpoint")


def test_the_command_tells_in_a_few_lines_or_as_json(manifest, tmp_path, capsys):
    good = sparse(tmp_path / "sd15.safetensors", single_file(manifest), "F32", {"note": "x" * 500})
    assert main(["inspect", str(good)]) == 0
    out, err = capsys.readouterr()
    assert not err and out.count("\n") < 12 and max(map(len, out.splitlines())) < 250
    assert "Stable Diffusion 1.x" in out and "3.97 GiB" in out and out.count("; complete") == 3
    assert "859.52 M, F32" in out and "block out channels 320, 640, 1280, 1280; " in out and "heads 8;" in out

    assert main(["inspect", str(good), str(tmp_path / "gone.safetensors"), str(tmp_path / "x.ckpt"), "--json"]) == 2
    out, err = capsys.readouterr()
    reports = json.loads(out)
    assert [report.get("kind") for report in reports] == ["sd1", None, None] and "no such file" in reports[1]["error"]
    assert err.count("\n") == 2 and "pickle" in err and "Traceback" not in err


def loads(path):
    """Whether the loader takes it, down to the last tensor."""
    try:
        checkpoint = open_checkpoint(path)
        for part in (checkpoint.unet, checkpoint.vae, checkpoint.text):
            build(part, torch.float32)
    except InputError:
        return False
    return True


def looks_well(path):
    """Whether inspect finds all that a model needs, and no fault."""
    try:
        report = inspect(path)
    except InputError:
        return False
    faults = [part.get(fault) for part in report["parts"] for fault in ("problem", "missing", "extra", "misshaped")]
    whole = {"unet", "vae", "text"} <= {part["name"] for part in report["parts"]}
    return report["kind"] == "sd1" and whole and not any(faults) and not report["strange"]


@pytest.mark.parametrize("seed", range(24))
def test_inspect_and_load_never_disagree(models, tmp_path, seed):
    """A few random changes of names, shapes, types, header or config: both find a fault, or neither does."""
    random = Random(seed)
    if seed % 2:
        path = shutil.copytree(models / "tiny", tmp_path / "folder")
        config = random.choice(sorted(path.glob("*/*config.json")))
        said = json.loads(config.read_text())
        option = random.choice(sorted(said))
        said[option] = random.choice([None, 7, 2, -1, "x", True, [1, 2], [], 0.5, said[option], {}])
        config.write_text(json.dumps(said))
        file = random.choice(sorted(path.glob("*/*.safetensors")))
    else:
        path = file = shutil.copy(models / "tiny.safetensors", tmp_path / "one.safetensors")
    tensors, header = load_file(file), {}
    key = random.choice(sorted(tensors))
    for change in random.sample(range(8), seed % 4):
        if change == 0:
            tensors.pop(key, None)
        elif change == 1:
            tensors[key + random.choice([".more", "x"])] = torch.zeros(1)
        elif change == 2:
            tensors[key] = torch.zeros(random.choice([(1,), (0,), (2, 3), (1, 1, 1, 1)]))
        elif change == 3:
            tensors[key] = torch.zeros(tensors[key].shape if key in tensors else 1, dtype=torch.int8)
        elif change == 4:
            tensors[random.choice(["difference", "v_pred", "betas", "conditioner.x", "lora_down.weight"])] = torch.ones(
                1
            )
        elif change == 5:
            header = {
                random.choice(["t2vz.unet", "t2vz.text", "t2vz.scheduler"]): random.choice(["{", "[]", '{"a": 1}'])
            }
        elif change == 6:
            tensors = {name.replace("down_blocks.1", "down_blocks.2"): tensor for name, tensor in tensors.items()}
        else:
            tensors = {name.replace("model.diffusion_model.", ""): tensor for name, tensor in tensors.items()}
    save_file(tensors, file, header)
    assert looks_well(path) == loads(path)
