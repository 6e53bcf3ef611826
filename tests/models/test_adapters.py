"""What is trained of a model, and that nothing else is: on tiny models of both families."""

from pathlib import Path

import pytest
import torch
from tiny_models import tiny_composed_language, tiny_qwen_omni, tiny_siglip, tiny_whisper
from torch import nn

from affect.config import ComposedConfig, ConfigError, FinetuningConfig, QwenOmniConfig, Tower
from affect.models import Model, adapters, load, trained_tensors
from affect.models.parameter_groups import parameter_groups


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("adapters")
    tiny_composed_language(root / "language")
    tiny_whisper(root / "whisper")
    tiny_siglip(root / "siglip")
    tiny_qwen_omni(root / "qwen")
    return root


def composed(folder: Path, modalities: str = "tav", *, pretrained: bool = False) -> Model:
    encoders = {"audio": str(folder / "whisper"), "vision": str(folder / "siglip")} if pretrained else {}
    language = str(folder / "language")
    config = ComposedConfig(name="tiny", modalities="tav", language=language, encoder_width=16, **encoders)
    torch.manual_seed(0)
    return load(config, modalities=modalities, cache_root=folder)[0]


def qwen_omni(folder: Path) -> Model:
    config = QwenOmniConfig(name="tiny", modalities="tav", checkpoint=str(folder / "qwen"))
    return load(config, modalities="tav", cache_root=folder)[0]


def finetuning(**settings) -> FinetuningConfig:
    return FinetuningConfig(name="test", rank=2, **settings)


def trained(model: nn.Module) -> set[str]:
    return {name for name, parameter in model.named_parameters() if parameter.requires_grad}


def adapted(model: nn.Module) -> set[str]:
    return {name for name, module in model.named_modules() if hasattr(module, "lora_A")}


LINEAR = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")


def test_lora_goes_into_every_linear_module_of_the_language_model_but_its_output(folder: Path) -> None:
    model = composed(folder)
    counts = {count.tower: count for count in adapters.apply(model, finetuning())}
    layers = [f"language.model.layers.{i}" for i in range(2)]
    attention = {f"{layer}.self_attn.{name}" for layer in layers for name in LINEAR[:4]}
    assert adapted(model) == attention | {f"{layer}.mlp.{name}" for layer in layers for name in LINEAR[4:]}
    assert not hasattr(model.language.lm_head, "lora_A")
    assert (counts["language"].mode, counts["language"].lora_modules) == ("lora", 14)
    # Rank 2 times inputs and outputs: q and o 64 to 64, k and v 64 to 32, three of 64 and 128.
    assert counts["language"].trained == 2 * 2 * (2 * 128 + 2 * 96 + 3 * 192)
    for tower in ("audio", "vision", "projector"):
        assert (counts[tower].mode, counts[tower].lora_modules) == ("full", 0)
        assert counts[tower].trained == counts[tower].parameters > 0


def test_named_targets_are_all_that_is_adapted(folder: Path) -> None:
    for model, count in ((composed(folder, "t"), 4), (qwen_omni(folder), 4)):
        adapters.apply(model, finetuning(targets=["q_proj", "v_proj"]))
        assert len(adapted(model)) == count
        assert {name.rsplit(".", 1)[-1] for name in adapted(model)} == {"q_proj", "v_proj"}
        assert all(adapters.tower_of(name, model.towers) == "language" for name in adapted(model))
        assert {name.split(".lora_")[0] for name in trained(model)} == adapted(model)


def test_an_unknown_target_is_refused_with_the_nearest(folder: Path) -> None:
    with pytest.raises(
        ConfigError, match=r"language=lora, but no .* is named q_porj, did you mean 'q_proj'\? Its linear"
    ):
        adapters.apply(composed(folder, "t"), finetuning(targets=["q_porj"]))
    with pytest.raises(ConfigError, match=r"finetuning\.audio=lora, but no .* named gate_proj.* fc1, fc2, k_proj"):
        model = composed(folder, pretrained=True)
        adapters.apply(model, finetuning(targets=["gate_proj"], audio=Tower.lora))


def test_pretrained_towers_stay_as_they_are_unless_told_otherwise(folder: Path) -> None:
    modes = {c.tower: c.mode for c in adapters.apply(composed(folder, pretrained=True), finetuning())}
    assert modes == {"language": "lora", "audio": "frozen", "vision": "frozen", "projector": "full"}
    modes = {c.tower: c.mode for c in adapters.apply(qwen_omni(folder), finetuning())}
    assert modes == {"language": "lora", "audio": "frozen", "vision": "frozen", "projector": "frozen"}


def test_every_mode_trains_what_it_says(folder: Path) -> None:
    model = qwen_omni(folder)
    modes = {"language": Tower.frozen, "audio": Tower.lora, "vision": Tower.full, "projector": Tower.full}
    counts = {c.tower: c for c in adapters.apply(model, finetuning(**modes))}
    names = trained(model)
    by_tower = {tower: {n for n in names if adapters.tower_of(n, model.towers) == tower} for tower in model.towers}
    assert not by_tower["language"] and counts["language"].trained == 0
    assert by_tower["audio"] and all("lora_" in name for name in by_tower["audio"])
    assert by_tower["projector"] and not any("lora_" in name for name in by_tower["projector"])
    for tower in ("vision", "projector"):
        assert counts[tower].trained == counts[tower].parameters > 0
    # The projector of the audio tower lies inside it, and is not adapted with it.
    assert "backbone.model.audio_tower.proj" not in adapted(model)


def test_full_training_of_a_model_with_tied_embeddings_keeps_one_tensor_for_both(folder: Path) -> None:
    model = composed(folder, "t")
    count = adapters.apply(model, finetuning(language=Tower.full))[0]
    assert (count.trained, count.lora_modules) == (count.parameters, 0)
    state = trained_tensors.trained_state(model)
    assert "language.model.embed_tokens.weight" in state and "language.lm_head.weight" not in state
    other = composed(folder, "t")
    adapters.apply(other, finetuning(language=Tower.full))
    with torch.no_grad():
        for parameter in other.parameters():
            parameter.zero_()
    trained_tensors.load_trained_state(other, state, "x.ckpt")
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), other.parameters(), strict=True))
    assert other.language.lm_head.weight is other.language.model.embed_tokens.weight


def test_the_state_is_what_is_trained_with_the_buffers_beside_it(folder: Path) -> None:
    model = composed(folder)
    adapters.apply(model, finetuning())
    state = trained_tensors.trained_state(model)
    assert set(state) == trained(model) | {"audio.mean", "audio.scale"}
    model = composed(folder, pretrained=True)
    adapters.apply(model, finetuning())
    assert set(trained_tensors.trained_state(model)) == trained(model)


def test_a_state_restores_the_outputs(folder: Path) -> None:
    models = [composed(folder), composed(folder)]
    for model in models:
        adapters.apply(model, finetuning())
    with torch.no_grad():
        for tensor in trained_tensors.trained_state(models[0]).values():
            tensor.normal_()
    trained_tensors.load_trained_state(models[1], trained_tensors.trained_state(models[0]), "x.ckpt")
    batch = {"audio_features": torch.randn(1, 80, 90), "audio_lengths": torch.tensor([90])}
    tokens = [model.eval().soft_tokens(batch)["audio"] for model in models]
    assert torch.equal(*tokens) and models[1].audio.mean.abs().sum() > 0


def test_a_state_that_does_not_fit_is_refused_by_name(folder: Path) -> None:
    model = composed(folder)
    adapters.apply(model, finetuning())
    state = trained_tensors.trained_state(model)
    lacking = {name: tensor for name, tensor in state.items() if name != "audio.whole.bias"}
    with pytest.raises(
        ConfigError, match=r"^x.ckpt does not fit .*: 1 tensors lack, 0 are unknown.* audio\.whole\.bias"
    ):
        trained_tensors.load_trained_state(model, lacking, "x.ckpt")
    with pytest.raises(ConfigError, match=r"0 tensors lack, 1 are unknown.* strange: use the model and the settings"):
        trained_tensors.load_trained_state(model, state | {"strange": torch.zeros(1)}, "x.ckpt")
    with pytest.raises(ConfigError, match=r"0 are unknown, 1 have another shape, for example audio\.whole\.bias"):
        trained_tensors.load_trained_state(model, state | {"audio.whole.bias": torch.zeros(3)}, "x.ckpt")
    other = composed(folder)
    adapters.apply(other, FinetuningConfig(name="test", rank=3))
    with pytest.raises(ConfigError, match="28 have another shape"):
        trained_tensors.load_trained_state(other, state, "x.ckpt")


def test_learning_rate_by_tower_and_decay_by_shape(folder: Path) -> None:
    model = composed(folder, pretrained=True)
    settings = finetuning(audio=Tower.full, learning_rate=0.1, new_learning_rate=0.2, weight_decay=0.3)
    adapters.apply(model, settings)
    groups = parameter_groups(model, settings)
    by_name = {id(p): name for name, p in model.named_parameters()}
    found = {by_name[id(p)]: (group["lr"], group["weight_decay"]) for group in groups for p in group["params"]}
    assert set(found) == trained(model)
    for name, (rate, decay) in found.items():
        assert rate == (0.2 if "projector" in name else 0.1), name
        assert decay == (0.0 if model.get_parameter(name).ndim == 1 else 0.3), name
    assert {decay for _, decay in found.values()} == {0.0, 0.3}


def test_what_is_trained_is_float32_whatever_the_weights_are(folder: Path) -> None:
    model = composed(folder, "t").to(torch.bfloat16)
    adapters.apply(model, finetuning())
    kinds = {parameter.requires_grad: parameter.dtype for parameter in model.parameters()}
    assert kinds == {True: torch.float32, False: torch.bfloat16}


def test_a_module_outside_all_towers_is_our_mistake(folder: Path) -> None:
    model = composed(folder, "t")
    model.extra = nn.Linear(2, 2)
    with pytest.raises(AssertionError, match="belongs to no tower: the family"):
        adapters.apply(model, finetuning())
