"""What single native families have of their own, and what a checkpoint is refused for."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from peft import LoraConfig
from safetensors.torch import load_file, save_file
from test_families import SUITE, Loaded, conversation, load_tiny
from tiny_families import BUILD
from transformers import Phi4MultimodalForCausalLM

from affect.config import ConfigError
from affect.models import load
from affect.models.native.family import joined
from affect.models.native.qwen3_omni import num_audio_tokens

FAMILIES = {family.name: family for family in SUITE}


def made(name: str, folder: Path, modalities: str | None = None) -> Loaded:
    family = FAMILIES[name]
    if not folder.exists():
        BUILD[name](folder)
    return Loaded(family, *load_tiny(family, folder, modalities or family.modalities))


def test_a_full_qwen3_omni_checkpoint_gives_its_thinker(tmp_path: Path) -> None:
    """As the hub has it: the thinker's keys under `thinker.`, every expert apart, and a talker beside them."""
    thinker = made("qwen3_omni", tmp_path / "thinker")
    full = tmp_path / "full"
    shutil.copytree(tmp_path / "thinker", full)
    weights = {}
    for key, value in load_file(full / "model.safetensors").items():
        weights["thinker." + key] = value
    weights["talker.codec_head.weight"] = torch.zeros(4, 4)
    save_file(weights, full / "model.safetensors", metadata={"format": "pt"})
    described = json.loads((full / "config.json").read_text())
    whole = {"model_type": "qwen3_omni_moe", "thinker_config": described, "enable_audio_output": False}
    (full / "config.json").write_text(json.dumps(whole))
    loaded = made("qwen3_omni", full)
    batch = loaded.encoder.encode(loaded.items())
    with torch.no_grad():
        assert torch.equal(loaded.model(batch, 1), thinker.model(batch, 1))


def test_the_experts_of_qwen3_omni_are_used_and_one_token_does_not_use_all(tmp_path: Path) -> None:
    loaded = made("qwen3_omni", tmp_path / "thinker")
    seen = []
    for layer in loaded.model.backbone.model.language_model.layers:
        layer.mlp.gate.register_forward_hook(lambda module, given, out: seen.append(out[2]))
    with torch.no_grad():
        loaded.model(loaded.encoder.encode(loaded.items()), 1)
    assert len(seen) == 2 and all(chosen.shape[-1] == 2 for chosen in seen)
    assert set(torch.cat([chosen.flatten() for chosen in seen]).tolist()) == {0, 1, 2, 3}


@pytest.mark.parametrize("name", ["qwen_omni", "qwen3_omni", "qwen3_vl"])
@pytest.mark.parametrize("answers", [False, True])
def test_positions_are_those_that_transformers_counts(tmp_path: Path, name: str, answers: bool) -> None:
    loaded = made(name, tmp_path / name)
    longer = [
        replace(conversation("Wider than high, and odd seconds?", video=count), seconds=seconds, answer=answer)
        for count, seconds, answer in ((8, 7.3, "joy"), (5, 29.99, "a long answer"), (2, 0.12, "anger"))
    ]
    longer = [replace(item, frames=item.frames[:, :32] if answers else item.frames) for item in longer]
    items = [*loaded.items(answers=True), *longer]
    items = items if answers else [replace(item, answer=None) for item in items]
    batch = loaded.encoder.encode(items)
    media = {"video_grid_thw": batch["video_grid_thw"], "attention_mask": batch["attention_mask"]}
    if name == "qwen3_vl":
        ids = batch["input_ids"]
        media["mm_token_type_ids"] = 2 * (ids == loaded.encoder.media_ids["video"]).int()
    else:
        media["audio_seqlens"] = batch["feature_attention_mask"].sum(-1)
        media["second_per_grids"] = batch["video_second_per_grid"]
    expected, _ = loaded.model.backbone.model.get_rope_index(batch["input_ids"], **media)
    there = batch["attention_mask"].bool()
    positions = batch["positions"]
    assert positions.dtype is expected.dtype and positions.shape == expected.shape
    assert torch.equal(positions[:, there], expected[:, there])
    # Text alone is counted one by one.
    alone = loaded.encoder.encode(items[:1])["positions"]
    assert torch.equal(alone, torch.arange(alone.shape[-1]).expand(3, 1, -1).to(alone.dtype))


def test_the_number_of_audio_tokens_of_qwen3_omni_is_transformers() -> None:
    from transformers.models.qwen3_omni_moe.processing_qwen3_omni_moe import _get_feat_extract_output_lengths

    counts = [num_audio_tokens(frames, 50) for frames in range(1, 1_000)]
    assert counts == [_get_feat_extract_output_lengths(frames) for frames in range(1, 1_000)]
    assert num_audio_tokens(100, 50) == 13


def test_the_frames_of_a_large_gemma4_see_each_other_and_those_of_a_small_one_do_not(tmp_path: Path) -> None:
    for name, both_ways in (("gemma4", False), ("gemma4_both_ways", True)):
        loaded = made(name, tmp_path / name, "tv")
        batch = loaded.encoder.encode([conversation("a", video=1)])
        positions = loaded.model._positions(batch)
        of_frame = (batch["input_ids"][0] == loaded.encoder.media_ids["video"]).nonzero()[:, 0]
        vision = loaded.model.backbone.model.embed_vision
        states = []
        for last in (0.0, 1.0):  # what is added to the last token that the vision tower gives

            def shifted(module: object, given: object, out: torch.Tensor, last: float = last) -> torch.Tensor:
                return torch.cat([out[:-1], out[-1:] + last])

            hook = vision.register_forward_hook(shifted)
            with torch.no_grad():
                states.append(loaded.model._run(batch, positions).last_hidden_state[0])
            hook.remove()
        assert not torch.equal(states[0][of_frame[-1]], states[1][of_frame[-1]])
        # The first token of the frame stands long before the last.
        assert torch.equal(states[0][of_frame[0]], states[1][of_frame[0]]) is not both_ways


@pytest.mark.parametrize(("modalities", "folder"), [("ta", "speech-lora"), ("tav", "vision-lora"), ("t", None)])
def test_the_adapter_that_comes_with_phi4_is_merged(tmp_path: Path, modalities: str, folder: str | None) -> None:
    checkpoint = tmp_path / "phi4"
    plain = made("phi4_multimodal", checkpoint, modalities)
    for seed, name in enumerate(("speech-lora", "vision-lora")):
        backbone = Phi4MultimodalForCausalLM.from_pretrained(checkpoint)
        adapter = LoraConfig(r=2, target_modules=r"model\.layers\.\d+\.self_attn\.(qkv|o)_proj")
        backbone.add_adapter(adapter, adapter_name="own")
        torch.manual_seed(seed)
        for key, parameter in backbone.named_parameters():
            if "lora_B" in key:
                torch.nn.init.normal_(parameter, std=0.3)
        backbone.save_pretrained(checkpoint / name)
    loaded = made("phi4_multimodal", checkpoint, modalities)
    assert not any("lora" in name for name, _ in loaded.model.named_parameters())
    items = {"ta": loaded.items()[:2], "tav": loaded.items(), "t": loaded.items()[:1]}[modalities]
    reference = Phi4MultimodalForCausalLM.from_pretrained(checkpoint)
    if folder is not None:
        reference.load_adapter(str(checkpoint), adapter_name="own", adapter_kwargs={"subfolder": folder})
    with torch.no_grad():
        for item in items:
            batch = loaded.encoder.encode([item])
            expected = reference.eval()(**loaded.stock(item, loaded.render(item))).logits[:, -1:]
            torch.testing.assert_close(loaded.model(batch, 1), expected, atol=1e-5, rtol=0)
            assert ((plain.model(batch, 1) - expected).abs().max() > 1e-3) == (folder is not None)


def test_phi4_projects_sound_by_whether_its_own_conversation_has_images(tmp_path: Path) -> None:
    loaded = made("phi4_multimodal", tmp_path / "phi4")
    audio = loaded.model.backbone.model.embed_tokens_extend.audio_embed
    with torch.no_grad():
        before = loaded.model(loaded.encoder.encode(loaded.items()), 1)
        audio.down_proj_for_vision_speech.weight.mul_(3.0)
        after = loaded.model(loaded.encoder.encode(loaded.items()), 1)
    moved = (before - after).abs().amax(dim=(1, 2)) > 1e-5
    assert moved.tolist() == [False, False, False, True]


def test_the_rest_of_a_short_sound_is_the_same_token_of_gemma3n(tmp_path: Path) -> None:
    pytest.importorskip("timm")
    loaded = made("gemma3n", tmp_path / "gemma3n", "ta")
    with torch.no_grad():
        [short, long] = (
            loaded.model.heard(loaded.encoder.encode([conversation("a", audio=seconds * 16_000)]))["states"]
            for seconds in (1, 30)
        )
    assert short.shape == long.shape == (188, 32)
    # One token for 160 ms.
    assert torch.equal(short[7:], short[7:8].expand(181, -1)) and (short[6] - short[7]).abs().max() > 1e-3
    assert (long[180] - long[181]).abs().max() > 1e-3


def test_a_modality_that_gemma3n_is_without_takes_its_projector_along(tmp_path: Path) -> None:
    pytest.importorskip("timm")
    whole = made("gemma3n", tmp_path / "gemma3n")
    for modalities, row in (("ta", 1), ("tv", 2)):
        part = made("gemma3n", tmp_path / "gemma3n", modalities)
        assert len(part.model.towers["projector"]) == 1 and len(part.model.towers) == 3
        batch = whole.encoder.encode([whole.items()[row]])
        with torch.no_grad():
            assert torch.equal(part.model(batch, 1), whole.model(batch, 1))


def test_the_system_turn_opens_the_turn_of_the_user_for_voxtral(tmp_path: Path) -> None:
    pytest.importorskip("mistral_common")
    pytest.importorskip("soundfile")
    loaded = made("voxtral", tmp_path / "voxtral")
    item = conversation("Which emotion?", audio=16_000)
    system = {"role": "system", "content": [{"type": "text", "text": "You listen."}]}
    told = replace(item, messages=[system, *item.messages])
    opened = {"role": "user", "content": [{"type": "text", "text": "You listen.\n\n"}, *item.messages[0]["content"]]}
    stock = loaded.stock(replace(item, messages=[opened]), "")
    assert loaded.encoder.encode([told])["input_ids"][0].tolist() == stock["input_ids"][0].tolist()


def test_a_sound_of_more_than_30_s_is_several_windows_of_voxtral(tmp_path: Path) -> None:
    pytest.importorskip("mistral_common")
    pytest.importorskip("soundfile")
    loaded = made("voxtral", tmp_path / "voxtral")
    items = [conversation("Long?", audio=480_001), conversation("Short?", audio=16_000)]
    batch = loaded.encoder.encode(items)
    assert batch["input_features"].shape == (3, 128, 3_000)
    assert (batch["input_ids"] == loaded.encoder.media_ids["audio"]).sum(1).tolist() == [750, 375]
    stock = loaded.stock(items[0], "")
    assert batch["input_ids"][0].tolist() == stock["input_ids"][0].tolist()
    assert torch.equal(batch["input_features"][:2], stock["input_features"])


def test_voxtral_is_loaded_from_what_it_saved(tmp_path: Path) -> None:
    first = made("voxtral", tmp_path / "voxtral")
    first.model.backbone.save_pretrained(tmp_path / "saved")
    first.encoder.processor.save_pretrained(tmp_path / "saved")
    second = made("voxtral", tmp_path / "saved")
    with torch.no_grad():
        before, after = (one.model(one.encoder.encode(one.items()), 1) for one in (first, second))
    assert torch.equal(before, after)
    (tmp_path / "saved" / "tekken.json").unlink()
    with pytest.raises(ConfigError, match=r"could not be loaded \(.*tekken\.json.*\): give a folder that exists and"):
        made("voxtral", tmp_path / "saved")


def test_a_checkpoint_without_an_audio_tower_is_refused(tmp_path: Path) -> None:
    folder = BUILD["gemma4"](tmp_path / "gemma4")
    described = json.loads((folder / "config.json").read_text()) | {"audio_config": None}
    (folder / "config.json").write_text(json.dumps(described))
    weights = load_file(folder / "model.safetensors")
    kept = {key: value for key, value in weights.items() if "audio" not in key}
    save_file(kept, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(
        ConfigError, match=r"^modalities=tav has audio, but model\.checkpoint=.* is without audio_tower"
    ):
        made("gemma4", folder)
    assert set(made("gemma4", folder, "tv").model.towers) == {"language", "vision", "projector"}


def test_missing_weights_are_refused(tmp_path: Path) -> None:
    folder = BUILD["qwen2_audio"](tmp_path / "qwen2_audio")
    weights = load_file(folder / "model.safetensors")
    lost = next(key for key in weights if "multi_modal_projector" in key and key.endswith("weight"))
    save_file({k: v for k, v in weights.items() if k != lost}, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ConfigError, match=r"lacks 1 of the model's weights .*projector.* would stay random: download"):
        made("qwen2_audio", folder)


def test_a_template_that_leaves_media_out_is_refused(tmp_path: Path) -> None:
    folder = BUILD["audio_flamingo3"](tmp_path / "flamingo")
    template = (folder / "chat_template.jinja").read_text()
    (folder / "chat_template.jinja").write_text(template.replace("<sound>", ""))
    with pytest.raises(
        ConfigError, match=r"has a chat template that cannot be used \(it writes 0 placeholders for one part 'audio'\)"
    ):
        made("audio_flamingo3", folder)


def test_longer_clips_than_a_model_takes_are_refused(tmp_path: Path) -> None:
    loaded = made("qwen2_audio", tmp_path / "qwen2_audio")
    longer = replace(loaded.config, max_seconds=40.0)
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
