"""What each method of fine-tuning means, on tiny models: LoRA, rsLoRA, DoRA, PiSSA, four bits, and merging them."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny_models import tiny_composed_language, tiny_qwen_omni
from torch import nn

from affect.config import ComposedConfig, ConfigError, FinetuningConfig, LoraMethod, QwenOmniConfig, Tower
from affect.models import (
    Conversation,
    Encoder,
    Model,
    adapters,
    base_sample,
    load,
    loading,
    lora_layers,
    trained_tensors,
)
from affect.models.losses import answer_loss
from affect.models.parameter_groups import parameter_groups

METHODS = {
    "lora": {},
    "rslora": {"method": LoraMethod.rslora},
    "dora": {"method": LoraMethod.dora},
    "pissa": {"method": LoraMethod.pissa},
    "qlora": {"four_bit": True},
    "four-bit pissa": {"four_bit": True, "method": LoraMethod.pissa},
    "four-bit dora": {"four_bit": True, "method": LoraMethod.dora},
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("methods")
    tiny_composed_language(root / "language")
    tiny_qwen_omni(root / "qwen")
    return root


def text_model(folder: Path) -> tuple[Model, Encoder]:
    config = ComposedConfig(name="tiny", modalities="tav", language=str(folder / "language"))
    return load(config, modalities="t", cache_root=folder)


def qwen_omni(folder: Path) -> tuple[Model, Encoder]:
    config = QwenOmniConfig(name="tiny", modalities="tav", checkpoint=str(folder / "qwen"))
    return load(config, modalities="t", cache_root=folder)


def settings(method: str = "lora", **more: Any) -> FinetuningConfig:
    if METHODS[method].get("four_bit"):
        pytest.importorskip("bitsandbytes")
    return FinetuningConfig(**{"name": "test", "rank": 4, "alpha": 8, **METHODS[method], **more})


def batch(encoder: Encoder) -> dict[str, Any]:
    texts = ("Which emotion?", "And how does she sound when she says so?", "Well?")
    return encoder.encode(
        [
            Conversation(messages=[{"role": "user", "content": [{"type": "text", "text": text}]}], answer=answer)
            for text, answer in zip(texts, ("joy", "anger", "sadness"), strict=True)
        ]
    )


@torch.no_grad()
def logits(model: Model, tensors: dict[str, Any]) -> torch.Tensor:
    return model.eval()(tensors, keep=6)


def train(model: Model, tensors: dict[str, Any], config: FinetuningConfig, steps: int = 12) -> list[float]:
    torch.manual_seed(0)
    optimizer = torch.optim.AdamW(parameter_groups(model.train(), config), lr=0.01)
    for group in optimizer.param_groups:
        group["lr"] = 0.01
    losses = []
    for _ in range(steps):
        loss = answer_loss(model, tensors)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses


EVERY_METHOD = pytest.mark.parametrize(
    ("make", "method"),
    [(text_model, method) for method in METHODS] + [(qwen_omni, method) for method in ("pissa", "four-bit dora")],
)
"""Each method on a composed model; on a native one, where modules are only named differently, two that differ most."""


def layers(model: nn.Module) -> dict[str, nn.Module]:
    return {name: module for name, module in model.named_modules() if hasattr(module, "lora_A")}


@EVERY_METHOD
def test_training_begins_where_the_base_is_and_the_loss_falls(folder: Path, make: Any, method: str) -> None:
    model, encoder = make(folder)
    tensors, config = batch(encoder), settings(method)
    before = logits(model, tensors)
    adapters.apply(model, config)
    start = logits(model, tensors)
    if config.four_bit:
        assert 1e-3 < (start - before).abs().mean() < before.std()  # rounded, and still the same model
    else:
        torch.testing.assert_close(start, before, atol=1e-4, rtol=1e-4)
    frozen = {name: p.detach().clone() for name, p in model.named_parameters() if not p.requires_grad}
    losses = train(model, tensors, config)
    assert losses[-1] < losses[0] - 0.3, losses
    assert frozen and all(torch.equal(model.get_parameter(name), value) for name, value in frozen.items())
    assert (logits(model, tensors) - start).abs().max() > 0.1


@EVERY_METHOD
def test_a_merged_model_says_what_the_adapter_said(folder: Path, make: Any, method: str) -> None:
    model, encoder = make(folder)
    tensors, config = batch(encoder), settings(method)
    names = set(model.state_dict())
    adapters.apply(model, config)
    train(model, tensors, config, steps=3)
    adapted = logits(model, tensors)
    expected = {name: merged_weight(layer) for name, layer in layers(model).items()}
    base = {name: layer.get_base_layer().weight for name, layer in layers(model).items()}
    before = {name: weight.clone() for name, weight in base.items()}
    lora_layers.merge(model)
    for name, weight in expected.items():
        torch.testing.assert_close(model.get_submodule(name).weight.double(), weight, atol=1e-6, rtol=1e-5)
        assert torch.equal(base[name], before[name]), "the weights that other jobs share"
    torch.testing.assert_close(logits(model, tensors), adapted, atol=1e-4, rtol=1e-4)
    assert set(model.state_dict()) == names
    assert not layers(model)
    kinds = {type(m).__name__ for m in model.modules() if isinstance(m, nn.Linear)}
    assert kinds and kinds <= {"Linear", "OneDnnLinear"}


def merged_weight(layer: Any) -> torch.Tensor:
    """The papers' formulas in float64: W + Σ s B A, and for DoRA its rows scaled to the trained lengths."""
    weight = lora_layers.weight_of(layer.get_base_layer()).double()
    for name in layer.active_adapters:
        down, up = layer.lora_A[name].weight.double(), layer.lora_B[name].weight.double()
        weight = weight + layer.scaling[name] * up @ down
    if "default" in layer.lora_magnitude_vector:
        lengths = layer.lora_magnitude_vector["default"].weight.double()
        weight = weight * (lengths / weight.norm(dim=1))[:, None]
    return weight.detach()


@pytest.mark.parametrize("method", ["lora", "dora", "pissa"])
def test_weights_in_bfloat16_are_rounded_once(method: str) -> None:
    model, _ = wide()
    model.to(torch.bfloat16)
    adapters.apply(model, settings(method, targets=["q_proj"]))
    layer = model.language["q_proj"]
    torch.manual_seed(1)
    with torch.no_grad():
        for parameter in layer.parameters():
            if parameter.requires_grad:
                parameter.add_(torch.randn_like(parameter), alpha=0.01)
    expected = merged_weight(layer)
    lora_layers.merge(model)
    merged = model.language["q_proj"].weight
    assert merged.dtype == torch.bfloat16
    # Half a unit in the last of eight bits; the sum itself is of float32.
    torch.testing.assert_close(merged.double(), expected, rtol=2**-8, atol=1e-8)


@pytest.mark.parametrize("method", METHODS)
def test_a_saved_state_restores_the_trained_model(folder: Path, method: str) -> None:
    model, encoder = text_model(folder)
    tensors, config = batch(encoder), settings(method)
    adapters.apply(model, config)
    train(model, tensors, config, steps=3)
    other, _ = text_model(folder)
    adapters.apply(other, config)
    assert (logits(other, tensors) - logits(model, tensors)).abs().max() > 0.01
    with torch.no_grad():  # where a library finds other singular vectors of the same weights
        for name, parameter in other.named_parameters():
            if "lora_" in name:
                parameter.normal_()
    trained_tensors.load_trained_state(other, trained_tensors.trained_state(model), "x.ckpt")
    torch.testing.assert_close(logits(other, tensors), logits(model, tensors), atol=1e-6, rtol=1e-6)


def test_scaling_by_the_rank_and_by_its_root(folder: Path) -> None:
    for method, expected in (("lora", 8 / 4), ("rslora", 8 / 4**0.5)):
        model, _ = text_model(folder)
        adapters.apply(model, settings(method))
        assert {layer.scaling["default"] for layer in layers(model).values()} == {expected}
    # The shipped rsLoRA has, at its rank, the update of the shipped LoRA.
    assert 8 / 16**0.5 == 32 / 16


def test_dora_trains_the_length_of_every_row(folder: Path) -> None:
    model, _ = text_model(folder)
    plain = adapters.apply(text_model(folder)[0], settings("lora"))[0]
    count = adapters.apply(model, settings("dora"))[0]
    for layer in layers(model).values():
        length = layer.lora_magnitude_vector["default"].weight
        assert length.requires_grad
        torch.testing.assert_close(length, layer.get_base_layer().weight.norm(dim=1))
    rows = sum(layer.get_base_layer().out_features for layer in layers(model).values())
    assert count.mode == "dora" and count.trained == plain.trained + rows


def test_pissa_starts_from_the_greatest_singular_values_and_leaves_the_weights_alone(folder: Path) -> None:
    model, _ = text_model(folder)
    weights = {name: p.detach().clone() for name, p in model.named_parameters()}
    plain = adapters.apply(text_model(folder)[0], settings("lora"))[0]
    count = adapters.apply(model, settings("pissa"))[0]
    assert (count.trained, count.parameters) == (plain.trained, plain.parameters)
    for name, layer in layers(model).items():
        weight = weights[f"{name}.weight"]
        assert torch.equal(layer.get_base_layer().weight, weight)
        u, s, v = torch.linalg.svd(weight, full_matrices=False)
        best = u[:, :4] @ torch.diag(s[:4]) @ v[:4]
        torch.testing.assert_close(layer.get_delta_weight("default"), best, atol=1e-5, rtol=1e-4)
        torch.testing.assert_close(layer.get_delta_weight("start"), -best, atol=1e-5, rtol=1e-4)
        halves = [part["default"].weight.norm().item() for part in (layer.lora_A, layer.lora_B)]
        assert halves[0] == pytest.approx(halves[1], rel=1e-4)
    assert not any(p.requires_grad for name, p in model.named_parameters() if ".start." in name)


def test_pissa_of_a_matrix_with_fewer_singular_values_than_the_rank(folder: Path) -> None:
    model, encoder = text_model(folder)
    before = logits(model, batch(encoder))
    adapters.apply(model, settings("pissa", rank=40))  # k_proj and v_proj have 32 rows
    torch.testing.assert_close(logits(model, batch(encoder)), before, atol=1e-4, rtol=1e-4)


def wide() -> tuple[nn.Module, torch.Tensor]:
    """A model of one linear module that is too large to be taken apart whole, and its weight, whose singular values
    fall as those of trained weights do."""
    torch.manual_seed(0)
    model = Normalised()
    u, v = (torch.linalg.qr(torch.randn(size, 300)).Q for size in (400, 300))
    weight = u @ torch.diag(1 / torch.arange(1, 301)) @ v.T
    model.language["q_proj"] = nn.Linear(300, 400, bias=False)
    model.language["q_proj"].weight.data = weight.clone()
    return model, weight


def test_pissa_of_a_large_matrix_is_fast_near_and_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    model, weight = wide()
    largest, whole = 0, torch.linalg.svd

    def svd(matrix: torch.Tensor, **how: Any) -> Any:
        nonlocal largest
        largest = max(largest, min(matrix.shape))
        return whole(matrix, **how)

    monkeypatch.setattr(torch.linalg, "svd", svd)
    config, state = settings("pissa", targets=["q_proj"]), torch.random.get_rng_state()
    lora_layers._greatest_singular_values(weight, 4)
    assert torch.equal(torch.random.get_rng_state(), state)
    adapters.apply(model, config, device=torch.device("cpu"))
    assert largest == 4 + lora_layers.OVERSAMPLED  # of 300
    layer = model.language["q_proj"]
    assert torch.equal(layer.get_base_layer().weight, weight)
    u, s, v = whole(weight, full_matrices=False)
    best = u[:, :4] @ torch.diag(s[:4]) @ v[:4]
    found = layer.get_delta_weight("default")
    torch.testing.assert_close(found, best, atol=1e-4, rtol=1e-3)
    assert torch.equal(layer.get_delta_weight("start"), -found)
    again, _ = wide()
    adapters.apply(again, config)
    assert torch.equal(again.language["q_proj"].get_delta_weight("default"), found)


@pytest.mark.parametrize("method", ["pissa", "four-bit pissa"])
def test_pissa_takes_nothing_apart_where_a_checkpoint_follows(
    folder: Path, method: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, encoder = text_model(folder)
    tensors, config = batch(encoder), settings(method)
    adapters.apply(model, config)
    train(model, tensors, config, steps=3)
    for name in ("svd", "svd_lowrank"):
        monkeypatch.setattr(torch if name == "svd_lowrank" else torch.linalg, name, None)
    other, _ = text_model(folder)
    torch.manual_seed(5)
    adapters.apply(other, config, restored=True)
    trained_tensors.load_trained_state(other, trained_tensors.trained_state(model), "x.ckpt")
    assert torch.equal(logits(other, tensors), logits(model, tensors))
    # Going on is as if it had not been left, and so is what is merged.
    losses = [train(made, tensors, config, steps=3) for made in (model, other)]
    assert losses[0] == losses[1]
    for made in (model, other):
        lora_layers.merge(made)
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), other.parameters(), strict=True))


def test_four_bits_are_four_bits(folder: Path) -> None:
    bitsandbytes = pytest.importorskip("bitsandbytes")
    model, _ = text_model(folder)
    linear = {name: m.weight.detach().clone() for name, m in model.named_modules() if isinstance(m, nn.Linear)}
    plain = adapters.apply(text_model(folder)[0], settings("lora"))[0]
    count = adapters.apply(model, settings("qlora"))[0]
    assert count.mode == "lora, 4 bits"
    assert (count.trained, count.parameters) == (plain.trained, plain.parameters)
    for name, layer in layers(model).items():
        base = layer.get_base_layer()
        assert isinstance(base, bitsandbytes.nn.Linear4bit)
        assert base.weight.dtype == torch.uint8 and base.weight.numel() == linear[name].numel() // 2
        assert base.weight.quant_type == "nf4" and not base.weight.requires_grad
        back = lora_layers.weight_of(base)
        # The 16 levels of a block of 64 lie at most 0.15 of its greatest value from any weight.
        assert (back - linear[name]).abs().max() < 0.2 * linear[name].abs().max()
        blocks = back.flatten().view(-1, 64)
        assert max(len(block.unique()) for block in blocks) <= 16
    # Output embeddings stay: they are the input embeddings here, and are never rounded.
    assert not isinstance(model.language.lm_head, bitsandbytes.nn.Linear4bit)


@pytest.mark.parametrize("whole_blocks", [True, False])
def test_four_bits_that_would_come_back_wrong_are_refused(whole_blocks: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("bitsandbytes")
    from affect.models import quantization

    monkeypatch.setattr(quantization, "_parts_of_blocks_are_restored", lambda: False)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    model = nn.Sequential(nn.Linear(128, 8), nn.Linear(128 if whole_blocks else 96, 8))
    if whole_blocks:
        quantization.quantise(model, ["0", "1"])
        assert all(quantization.is_quantised(module) for module in model)
        return
    said = r"no whole number of 64 weights wrongly .*, as the 96 of 1, one of 1 modules"
    with pytest.raises(ConfigError, match=said):
        quantization.quantise(model, ["0", "1"])
    assert not any(quantization.is_quantised(module) for module in model)


def test_whether_parts_of_blocks_are_restored_is_tried_out(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("bitsandbytes")
    from affect.models import quantization

    restored = quantization.dequantize_4bit

    def flat(packed: torch.Tensor, state: Any) -> torch.Tensor:
        """By a kernel that goes through all weights in a row, which has no such trouble anywhere."""
        shape, state.shape = state.shape, (1, state.shape.numel())
        return restored(packed, state).view(shape)

    monkeypatch.setattr(quantization, "dequantize_4bit", flat)
    assert quantization._parts_of_blocks_are_restored.__wrapped__() is True
    monkeypatch.setattr(quantization, "dequantize_4bit", lambda *given: flat(*given).roll(quantization.BLOCK, 1))
    assert quantization._parts_of_blocks_are_restored.__wrapped__() is False


def test_four_bits_of_what_is_not_adapted_too(folder: Path) -> None:
    bitsandbytes = pytest.importorskip("bitsandbytes")
    model, _ = text_model(folder)
    adapters.apply(model, settings("qlora", targets=["q_proj"]))
    assert sum(isinstance(m, bitsandbytes.nn.Linear4bit) for m in model.modules()) == 14
    assert len(layers(model)) == 2


def test_only_the_language_model_is_put_into_four_bits(folder: Path) -> None:
    bitsandbytes = pytest.importorskip("bitsandbytes")
    config = QwenOmniConfig(name="tiny", modalities="tav", checkpoint=str(folder / "qwen"))
    model, _ = load(config, modalities="tav", cache_root=folder)
    adapters.apply(model, settings("qlora", audio=Tower.lora, projector=Tower.full))
    towers = {
        adapters.tower_of(name, model.towers)
        for name, module in model.named_modules()
        if isinstance(module, bitsandbytes.nn.Linear4bit)
    }
    assert towers == {"language"}


def test_a_base_in_four_bits_is_not_given_to_the_next_job(folder: Path, configure: Any) -> None:
    pytest.importorskip("bitsandbytes")
    words = ("model=smollm2", f"model.language={folder / 'language'}", "modalities=t", f"cache_root={folder}")
    cfg = configure(*words, "finetuning=qlora")
    with loading.borrowed(cfg) as (model, _):
        adapters.apply(model, cfg.finetuning)
    with loading.borrowed(cfg) as (model, _):
        kinds = {type(m).__name__ for m in model.modules() if isinstance(m, nn.Linear)}
    assert kinds in ({"Linear"}, {"OneDnnLinear"})


def test_a_base_with_pissa_is_given_on_as_it_was(folder: Path, configure: Any) -> None:
    words = ("model=smollm2", f"model.language={folder / 'language'}", "modalities=t", f"cache_root={folder}")
    cfg = configure(*words, "finetuning=pissa", "finetuning.rank=4")
    with loading.borrowed(cfg) as (model, encoder):
        before = logits(model, batch(encoder))
        adapters.apply(model, cfg.finetuning)
        train(model, batch(encoder), cfg.finetuning)
        first = model.language
    with loading.borrowed(cfg) as (model, encoder):
        assert model.language is first
        assert torch.equal(logits(model, batch(encoder)), before)


class Normalised(nn.Module):
    """Two towers, one of which has batch normalisation, as Parakeet's convolutions do."""

    def __init__(self) -> None:
        super().__init__()
        self.language, self.audio = nn.ModuleDict({"q_proj": nn.Linear(8, 8)}), nn.ModuleDict()
        self.audio["q_proj"], self.audio["norm"] = nn.Linear(8, 8), nn.BatchNorm1d(8)
        self.towers, self.new = {"language": ["language"], "audio": ["audio"]}, frozenset()

    def unused(self, towers: set[str]) -> set[str]:
        return set()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.language["q_proj"](self.audio["norm"](self.audio["q_proj"](x)))


@pytest.mark.parametrize("mode", [Tower.frozen, Tower.lora, Tower.full])
def test_what_training_changes_is_in_a_checkpoint(mode: Tower) -> None:
    torch.manual_seed(0)
    model, again = Normalised(), Normalised()
    again.load_state_dict(model.state_dict())
    config = settings("lora", audio=mode, targets=["q_proj"])
    for made in (model, again):
        adapters.apply(made, config)
    adapters.set_training_mode(model.train())
    optimizer = torch.optim.SGD((p for p in model.parameters() if p.requires_grad), lr=0.1)
    for _ in range(3):
        optimizer.zero_grad()
        model(torch.randn(16, 8) + 1).square().mean().backward()
        optimizer.step()
    assert model.audio["norm"].training == (mode is Tower.full)
    trained_tensors.load_trained_state(again, trained_tensors.trained_state(model), "best.ckpt")
    x = torch.randn(4, 8)
    with torch.no_grad():
        assert model.eval()(x).isfinite().all() and torch.equal(again.eval()(x), model(x))


def test_the_start_of_pissa_has_no_dropout(folder: Path) -> None:
    model, encoder = text_model(folder)
    tensors = batch(encoder)
    before = logits(model, tensors)
    adapters.apply(model, settings("pissa", dropout=0.3))
    adapters.set_training_mode(model.train())
    with torch.no_grad():
        assert (model(tensors, keep=6) - before).abs().max() > 0.01, "dropout of what is trained"
        for layer in layers(model).values():
            layer.lora_dropout[lora_layers.TRAINED].eval()
        torch.testing.assert_close(model(tensors, keep=6), before, atol=1e-4, rtol=1e-4)


# ---------------------------------------------------------------- the base


def test_another_base_is_refused_and_another_precision_is_not(folder: Path) -> None:
    model, _ = text_model(folder)
    adapters.apply(model, settings())
    sample = model.base_sample
    assert len(sample["names"]) == len(sample["values"]) > 0 and sample["values"].shape[1] == 10
    with torch.no_grad():  # what is trained whole does not take the sample of its beginning along
        before = sample["values"].clone()
        for parameter in model.parameters():
            parameter.add_(1)
    assert torch.equal(sample["values"], before)
    again, _ = text_model(folder)
    adapters.apply(again.to(torch.bfloat16), settings("pissa"))
    base_sample.check_base(again, sample, "best.ckpt")
    other, _ = text_model(folder)
    with torch.no_grad():
        other.language.model.layers[1].mlp.up_proj.weight.mul_(1.1)
    adapters.apply(other, settings())
    with pytest.raises(
        ConfigError,
        match=r"^best.ckpt was trained on another base: 1 of \d+ tensors of this model have other values, for"
        r" example language\.model\.layers\.1\.mlp\.up_proj\.weight: use the base checkpoint",
    ):
        base_sample.check_base(other, sample, "best.ckpt")
    values = sample["values"][:, : base_sample.SAMPLED]
    for earlier in (dict(zip(sample["names"], values, strict=True)), sample | {"values": values}):
        base_sample.check_base(again, earlier, "best.ckpt")
        with pytest.raises(ConfigError, match="was trained on another base: 1 of"):
            base_sample.check_base(other, earlier, "best.ckpt")
    with pytest.raises(
        ConfigError, match=r"best\.ckpt was written by an earlier version of affect, which did not note"
    ):
        base_sample.check_base(again, None, "best.ckpt")


def _one_row(weight: torch.Tensor) -> None:
    weight[1] += 0.01  # of which none of the values is in the sample


def _a_little_of_all(weight: torch.Tensor) -> None:
    weight *= 1 + 0.002 * torch.randn_like(weight)


@pytest.mark.parametrize("change", [_one_row, _a_little_of_all])
def test_a_base_that_is_nearly_the_same_is_another(folder: Path, change: Callable[[torch.Tensor], None]) -> None:
    model, _ = text_model(folder)
    adapters.apply(model, settings())
    other, _ = text_model(folder)
    with torch.no_grad():
        change(other.language.model.layers[1].mlp.up_proj.weight)
    adapters.apply(other, settings())
    with pytest.raises(ConfigError, match=r"was trained on another base: 1 of .* example .*layers\.1\.mlp\.up_proj"):
        base_sample.check_base(other, model.base_sample, "best.ckpt")


def test_a_base_in_bytes_is_compared_as_it_is(folder: Path) -> None:
    samples = []
    for change in (0, 1):
        model, _ = text_model(folder)
        packed = torch.arange(10_000).to(torch.uint8)  # as bitsandbytes writes 4 bits
        packed[5_001:5_201] += change
        model.language.model.packed = nn.Parameter(packed, requires_grad=False)
        model.language.model.small = nn.Parameter(torch.ones(50).to(torch.float8_e4m3fn), requires_grad=False)
        model.base_sample = base_sample.base_sample(model)
        samples.append(model.base_sample)
    base_sample.check_base(model, samples[1], "best.ckpt")
    with pytest.raises(ConfigError, match=r"another base: 1 of \d+ tensors .* language\.model\.packed"):
        base_sample.check_base(model, samples[0], "best.ckpt")


def test_new_towers_are_no_base(folder: Path) -> None:
    config = ComposedConfig(name="tiny", modalities="tav", language=str(folder / "language"), encoder_width=16)
    model, _ = load(config, modalities="tav", cache_root=folder)
    assert {adapters.tower_of(name, model.towers) for name in base_sample.base_sample(model)["names"]} == {"language"}


# ---------------------------------------------------------------- towers


def test_every_tower_can_have_its_own_learning_rate(folder: Path) -> None:
    config = QwenOmniConfig(name="tiny", modalities="tav", checkpoint=str(folder / "qwen"))
    model, _ = load(config, modalities="tav", cache_root=folder)
    finetuning = settings(
        audio=Tower.lora,
        vision=Tower.full,
        projector=Tower.full,
        learning_rate=0.1,
        vision_learning_rate=0.2,
        projector_learning_rate=0.3,
    )
    counts = {count.tower: count for count in adapters.apply(model, finetuning)}
    assert {t: c.learning_rate for t, c in counts.items()} == {
        "language": 0.1,
        "audio": 0.1,
        "vision": 0.2,
        "projector": 0.3,
    }
    by_name = {id(p): name for name, p in model.named_parameters()}
    for group in parameter_groups(model, finetuning):
        towers = {adapters.tower_of(by_name[id(p)], model.towers) for p in group["params"]}
        assert {counts[tower].learning_rate for tower in towers} == {group["lr"]}


def test_one_unknown_target_among_known_ones_is_refused(folder: Path) -> None:
    with pytest.raises(
        ConfigError,
        match=r"^finetuning\.targets names v_porj, and no linear module of language is named so, did you mean"
        r" 'v_proj'\? Their linear modules: down_proj, gate_proj",
    ):
        adapters.apply(text_model(folder)[0], settings(targets=["q_proj", "v_porj"]))
