"""What single native families have of their own, and what a checkpoint is refused for."""

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from peft import LoraConfig
from safetensors.torch import load_file, save_file
from test_families import SUITE, Loaded, conversation, load_tiny
from transformers import Phi4MultimodalForCausalLM

from affect.config import ConfigError
from affect.models import load
from affect.models.native.clip_tensors import joined
from affect.models.native.qwen3_omni import num_audio_tokens

FAMILIES = {family.name: family for family in SUITE}


LoadedBy = Callable[..., Loaded]


def load_from(folder: Path, name: str, modalities: str | None = None) -> Loaded:
    """The model of a checkpoint that is not the family's own tiny one."""
    family = FAMILIES[name]
    return Loaded(family, *load_tiny(family, folder, modalities or family.modalities))


def test_a_full_qwen3_omni_checkpoint_gives_its_thinker(
    loaded: LoadedBy, checkpoint: Callable[[str], Path], tmp_path: Path
) -> None:
    """As the hub has it: the thinker's keys under `thinker.`, every expert apart, and a talker beside them."""
    thinker = loaded("qwen3_omni")
    full = shutil.copytree(checkpoint("qwen3_omni"), tmp_path / "full")
    weights = {}
    for key, value in load_file(full / "model.safetensors").items():
        weights["thinker." + key] = value
    weights["talker.codec_head.weight"] = torch.zeros(4, 4)
    save_file(weights, full / "model.safetensors", metadata={"format": "pt"})
    described = json.loads((full / "config.json").read_text())
    whole = {"model_type": "qwen3_omni_moe", "thinker_config": described, "enable_audio_output": False}
    (full / "config.json").write_text(json.dumps(whole))
    tiny = load_from(full, "qwen3_omni")
    batch = tiny.encoder.encode(tiny.items())
    with torch.no_grad():
        assert torch.equal(tiny.model(batch, 1), thinker.model(batch, 1))


def test_the_experts_of_qwen3_omni_are_used_and_one_token_does_not_use_all(loaded: LoadedBy) -> None:
    tiny = loaded("qwen3_omni").fresh()
    seen = []
    for layer in tiny.model.backbone.model.language_model.layers:
        layer.mlp.gate.register_forward_hook(lambda module, given, out: seen.append(out[2]))
    with torch.no_grad():
        tiny.model(tiny.encoder.encode(tiny.items()), 1)
    assert len(seen) == 2 and all(chosen.shape[-1] == 2 for chosen in seen)
    assert set(torch.cat([chosen.flatten() for chosen in seen]).tolist()) == {0, 1, 2, 3}


@pytest.mark.parametrize("name", ["qwen_omni", "qwen3_omni", "qwen3_vl"])
@pytest.mark.parametrize("answers", [False, True])
def test_positions_are_those_that_transformers_counts(loaded: LoadedBy, name: str, answers: bool) -> None:
    tiny = loaded(name)
    longer = [
        replace(conversation("Wider than high, and odd seconds?", video=count), seconds=seconds, answer=answer)
        for count, seconds, answer in ((8, 7.3, "joy"), (5, 29.99, "a long answer"), (2, 0.12, "anger"))
    ]
    longer = [replace(item, frames=item.frames[:, :32] if answers else item.frames) for item in longer]
    items = [*tiny.items(answers=True), *longer]
    items = items if answers else [replace(item, answer=None) for item in items]
    batch = tiny.encoder.encode(items)
    media = {"video_grid_thw": batch["video_grid_thw"], "attention_mask": batch["attention_mask"]}
    if name == "qwen3_vl":
        ids = batch["input_ids"]
        media["mm_token_type_ids"] = 2 * (ids == tiny.encoder.media_ids["video"]).int()
    else:
        media["audio_seqlens"] = batch["feature_attention_mask"].sum(-1)
        media["second_per_grids"] = batch["video_second_per_grid"]
    expected, _ = tiny.model.backbone.model.get_rope_index(batch["input_ids"], **media)
    there = batch["attention_mask"].bool()
    positions = batch["positions"]
    assert positions.dtype is expected.dtype and positions.shape == expected.shape
    assert torch.equal(positions[:, there], expected[:, there])
    # Text alone is counted one by one.
    alone = tiny.encoder.encode(items[:1])["positions"]
    assert torch.equal(alone, torch.arange(alone.shape[-1]).expand(3, 1, -1).to(alone.dtype))


def test_the_number_of_audio_tokens_of_qwen3_omni_is_transformers() -> None:
    from transformers.models.qwen3_omni_moe.processing_qwen3_omni_moe import _get_feat_extract_output_lengths

    counts = [num_audio_tokens(frames, 50) for frames in range(1, 1_000)]
    assert counts == [_get_feat_extract_output_lengths(frames) for frames in range(1, 1_000)]
    assert num_audio_tokens(100, 50) == 13


def test_the_frames_of_a_large_gemma4_see_each_other_and_those_of_a_small_one_do_not(loaded: LoadedBy) -> None:
    for name, both_ways in (("gemma4", False), ("gemma4_both_ways", True)):
        tiny = loaded(name, "tv")
        batch = tiny.encoder.encode([conversation("a", video=1)])
        of_frame = (batch["input_ids"][0] == tiny.encoder.media_ids["video"]).nonzero()[:, 0]
        vision = tiny.model.backbone.model.embed_vision
        states = []
        for last in (0.0, 1.0):  # what is added to the last token that the vision tower gives

            def shifted(module: object, given: object, out: torch.Tensor, last: float = last) -> torch.Tensor:
                return torch.cat([out[:-1], out[-1:] + last])

            hook = vision.register_forward_hook(shifted)
            with torch.no_grad():
                states.append(tiny.model.body()(**tiny.model.inputs(batch)).last_hidden_state[0])
            hook.remove()
        assert not torch.equal(states[0][of_frame[-1]], states[1][of_frame[-1]])
        # The first token of the frame stands long before the last.
        assert torch.equal(states[0][of_frame[0]], states[1][of_frame[0]]) is not both_ways


@pytest.fixture(scope="module")
def with_adapters(checkpoint: Callable[[str], Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint of Phi-4 with the two adapters that it is released with."""
    folder = shutil.copytree(checkpoint("phi4_multimodal"), tmp_path_factory.mktemp("phi4") / "phi4")
    for seed, name in enumerate(("speech-lora", "vision-lora")):
        backbone = Phi4MultimodalForCausalLM.from_pretrained(folder)
        adapter = LoraConfig(r=2, target_modules=r"model\.layers\.\d+\.self_attn\.(qkv|o)_proj")
        backbone.add_adapter(adapter, adapter_name="own")
        torch.manual_seed(seed)
        for key, parameter in backbone.named_parameters():
            if "lora_B" in key:
                torch.nn.init.normal_(parameter, std=0.3)
        backbone.save_pretrained(folder / name)
    return folder


@pytest.mark.parametrize(("modalities", "folder"), [("ta", "speech-lora"), ("tav", "vision-lora"), ("t", None)])
def test_the_adapter_that_comes_with_phi4_is_merged(
    loaded: LoadedBy, with_adapters: Path, modalities: str, folder: str | None
) -> None:
    plain, tiny = loaded("phi4_multimodal", modalities), load_from(with_adapters, "phi4_multimodal", modalities)
    assert not any("lora" in name for name, _ in tiny.model.named_parameters())
    items = {"ta": tiny.items()[:2], "tav": tiny.items(), "t": tiny.items()[:1]}[modalities]
    reference = Phi4MultimodalForCausalLM.from_pretrained(with_adapters)
    if folder is not None:
        reference.load_adapter(str(with_adapters), adapter_name="own", adapter_kwargs={"subfolder": folder})
    with torch.no_grad():
        for item in items:
            batch = tiny.encoder.encode([item])
            expected = reference.eval()(**tiny.stock(item, tiny.render(item))).logits[:, -1:]
            torch.testing.assert_close(tiny.model(batch, 1), expected, atol=1e-5, rtol=0)
            assert ((plain.model(batch, 1) - expected).abs().max() > 1e-3) == (folder is not None)


def test_phi4_projects_sound_by_whether_its_own_conversation_has_images(loaded: LoadedBy) -> None:
    tiny = loaded("phi4_multimodal").fresh()
    audio = tiny.model.backbone.model.embed_tokens_extend.audio_embed
    with torch.no_grad():
        before = tiny.model(tiny.encoder.encode(tiny.items()), 1)
        audio.down_proj_for_vision_speech.weight.mul_(3.0)
        after = tiny.model(tiny.encoder.encode(tiny.items()), 1)
    moved = (before - after).abs().amax(dim=(1, 2)) > 1e-5
    assert moved.tolist() == [False, False, False, True]


def test_the_rest_of_a_short_sound_is_the_same_token_of_gemma3n(loaded: LoadedBy) -> None:
    tiny = loaded("gemma3n", "ta")
    with torch.no_grad():
        [short, long] = (
            tiny.model.encode_audio(tiny.encoder.encode([conversation("a", audio=seconds * 16_000)]))["states"]
            for seconds in (1, 30)
        )
    assert short.shape == long.shape == (188, 32)
    # One token for 160 ms.
    assert torch.equal(short[7:], short[7:8].expand(181, -1)) and (short[6] - short[7]).abs().max() > 1e-3
    assert (long[180] - long[181]).abs().max() > 1e-3


def test_a_modality_that_gemma3n_is_without_takes_its_projector_along(loaded: LoadedBy) -> None:
    whole = loaded("gemma3n")
    for modalities, row in (("ta", 1), ("tv", 2)):
        part = loaded("gemma3n", modalities)
        assert len(part.model.towers["projector"]) == 1 and len(part.model.towers) == 3
        batch = whole.encoder.encode([whole.items()[row]])
        with torch.no_grad():
            assert torch.equal(part.model(batch, 1), whole.model(batch, 1))


def test_the_system_turn_opens_the_turn_of_the_user_for_voxtral(loaded: LoadedBy) -> None:
    tiny = loaded("voxtral")
    item = conversation("Which emotion?", audio=16_000)
    system = {"role": "system", "content": [{"type": "text", "text": "You listen."}]}
    told = replace(item, messages=[system, *item.messages])
    opened = {"role": "user", "content": [{"type": "text", "text": "You listen.\n\n"}, *item.messages[0]["content"]]}
    stock = tiny.stock(replace(item, messages=[opened]), "")
    assert tiny.encoder.encode([told])["input_ids"][0].tolist() == stock["input_ids"][0].tolist()


def test_a_sound_of_more_than_30_s_is_several_windows_of_voxtral(loaded: LoadedBy) -> None:
    tiny = loaded("voxtral")
    items = [conversation("Long?", audio=480_001), conversation("Short?", audio=16_000)]
    batch = tiny.encoder.encode(items)
    assert batch["input_features"].shape == (3, 128, 3_000)
    assert (batch["input_ids"] == tiny.encoder.media_ids["audio"]).sum(1).tolist() == [750, 375]
    stock = tiny.stock(items[0], "")
    assert batch["input_ids"][0].tolist() == stock["input_ids"][0].tolist()
    assert torch.equal(batch["input_features"][:2], stock["input_features"])


def test_voxtral_is_loaded_from_what_it_saved(checkpoint: Callable[[str], Path], tmp_path: Path) -> None:
    first = load_from(checkpoint("voxtral"), "voxtral")
    first.model.backbone.save_pretrained(tmp_path / "saved")
    first.encoder.processor.save_pretrained(tmp_path / "saved")
    second = load_from(tmp_path / "saved", "voxtral")
    with torch.no_grad():
        before, after = (one.model(one.encoder.encode(one.items()), 1) for one in (first, second))
    assert torch.equal(before, after)
    (tmp_path / "saved" / "tekken.json").unlink()
    with pytest.raises(
        ConfigError, match=r"cannot be loaded \(.*tekken\.json.*\): give a checkpoint of family voxtral"
    ):
        load_from(tmp_path / "saved", "voxtral")


def test_a_checkpoint_without_an_audio_tower_is_refused(checkpoint: Callable[[str], Path], tmp_path: Path) -> None:
    folder = shutil.copytree(checkpoint("gemma4"), tmp_path / "gemma4")
    described = json.loads((folder / "config.json").read_text()) | {"audio_config": None}
    (folder / "config.json").write_text(json.dumps(described))
    weights = load_file(folder / "model.safetensors")
    kept = {key: value for key, value in weights.items() if "audio" not in key}
    save_file(kept, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(
        ConfigError, match=r"^modalities=tav has audio, but model\.checkpoint=.* is without model\.audio_tower"
    ):
        load_from(folder, "gemma4")
    assert set(load_from(folder, "gemma4", "tv").model.towers) == {"language", "vision", "projector"}


def test_missing_weights_are_refused(checkpoint: Callable[[str], Path], tmp_path: Path) -> None:
    folder = shutil.copytree(checkpoint("qwen2_audio"), tmp_path / "qwen2_audio")
    weights = load_file(folder / "model.safetensors")
    lost = next(key for key in weights if "multi_modal_projector" in key and key.endswith("weight"))
    save_file({k: v for k, v in weights.items() if k != lost}, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ConfigError, match=r"lacks 1 of the weights of a Qwen2Audio.*projector.* would stay random"):
        load_from(folder, "qwen2_audio")


def test_a_template_that_leaves_media_out_is_refused(checkpoint: Callable[[str], Path], tmp_path: Path) -> None:
    folder = shutil.copytree(checkpoint("audio_flamingo3"), tmp_path / "audio_flamingo3")
    template = (folder / "chat_template.jinja").read_text()
    (folder / "chat_template.jinja").write_text(template.replace("<sound>", ""))
    with pytest.raises(
        ConfigError, match=r"has a chat template that cannot be used \(it writes 0 placeholders for one part 'audio'\)"
    ):
        load_from(folder, "audio_flamingo3")


def test_longer_clips_than_a_model_takes_are_refused(loaded: LoadedBy, tmp_path: Path) -> None:
    longer = replace(loaded("qwen2_audio").config, max_seconds=40.0)
    with pytest.raises(
        ConfigError, match=r"max_seconds=40 .* takes 30 s at most: set model\.max_seconds to 30 or less"
    ):
        load(longer, modalities="ta", cache_root=tmp_path)
    assert load(longer, modalities="t", cache_root=tmp_path)


def test_tensors_are_joined_with_zeros_where_they_are_short() -> None:
    one, two = torch.ones(1, 2, 3), torch.ones(2, 3, 1)
    together = joined([one, two])
    assert together.shape == (3, 3, 3) and together.sum() == one.sum() + two.sum()
    assert torch.equal(together[:1, :2, :3], one) and torch.equal(together[1:, :3, :1], two)
