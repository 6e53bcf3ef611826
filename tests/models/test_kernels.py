"""The faster layers on CPUs give what the layers give that they replace."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from tiny_models import tiny_words
from torch import nn
from torch.nn import functional as F

from affect import models
from affect.config import Config
from affect.models import adapters, kernels, lora_layers
from affect.models.kernels import MIN_ROWS, MIN_WORK, OneDnnLinear, PatchConv3d


@pytest.fixture
def slow_mkl(monkeypatch: pytest.MonkeyPatch) -> None:
    """As on a processor of AMD's, whatever this one is."""
    monkeypatch.setattr(kernels, "mkl_is_slow", lambda: True)


@pytest.fixture
def convolutions(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, ...]]:
    """The shapes of what was convolved."""
    seen: list[tuple[int, ...]] = []
    convolve = F.conv2d

    def noted(pixels: torch.Tensor, *rest: torch.Tensor) -> torch.Tensor:
        seen.append(tuple(pixels.shape))
        return convolve(pixels, *rest)

    monkeypatch.setattr(F, "conv2d", noted)
    return seen


@pytest.mark.parametrize("bias", [True, False])
def test_values_and_gradients_are_those_of_a_linear_module(bias: bool, convolutions: list) -> None:
    torch.manual_seed(0)
    plain = nn.Linear(192, 320, bias=bias)
    other = nn.Linear(192, 320, bias=bias)
    other.load_state_dict(plain.state_dict())
    other.__class__ = OneDnnLinear
    # Two of three positions of a batch: rows that do not lie one after the other.
    x = torch.randn(4, 99, 192)
    assert MIN_WORK < 4 * 90 * 192 * 320 and MIN_ROWS < 4 * 90
    found = []
    for module in (plain, other):
        given = x.clone().requires_grad_()
        made = module(given[:, -90:])
        made.square().sum().backward()
        found.append([made, given.grad, *(parameter.grad for parameter in module.parameters())])
    assert convolutions == [(1, 192, 1, 360)]
    for one, two in zip(*found, strict=True):
        assert one.shape == two.shape and two.is_contiguous()
        assert torch.allclose(one, two, rtol=1e-5, atol=1e-4), (one - two).abs().max()
    assert {name: id(p) for name, p in other.named_parameters()}.keys() == dict(plain.named_parameters()).keys()


@pytest.mark.parametrize(
    ("shape", "dtype"),
    [
        ((MIN_ROWS - 1, 512), torch.float32),  # few rows
        ((MIN_ROWS, 512), torch.bfloat16),
        ((2, 3, 512), torch.float32),
        ((512,), torch.float32),  # no batch at all
        ((0, 512), torch.float32),
    ],
)
def test_what_is_small_or_of_another_type_stays_as_it_was(
    shape: tuple[int, ...], dtype: torch.dtype, convolutions: list
) -> None:
    plain = nn.Linear(512, 512, dtype=dtype)
    x = torch.randn(shape).to(dtype)
    expected = plain(x)
    plain.__class__ = OneDnnLinear
    assert torch.equal(plain(x), expected) and not convolutions


def test_it_is_used_where_mkl_is_slow_and_nowhere_else(monkeypatch: pytest.MonkeyPatch) -> None:
    class Own(nn.Linear):
        """Of another library, which may do something else."""

    for slow in (False, True):
        monkeypatch.setattr(kernels, "mkl_is_slow", lambda slow=slow: slow)
        model = nn.Sequential(nn.Linear(4, 4), Own(4, 4), nn.ReLU())
        kernels.use(model)
        assert [type(module) for module in model] == [OneDnnLinear if slow else nn.Linear, Own, nn.ReLU]


@pytest.mark.parametrize(
    ("described", "slow"), [("vendor_id : AuthenticAMD", True), ("vendor_id : GenuineIntel", False), ("", False)]
)
def test_the_processor_decides(described: str, slow: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Path, "read_text", lambda path: described)
    monkeypatch.setattr(Path, "is_file", lambda path: True)
    monkeypatch.setattr(torch.backends.mkl, "is_available", lambda: True)
    monkeypatch.setattr(torch.backends.mkldnn, "is_available", lambda: True)
    assert kernels.mkl_is_slow.__wrapped__() is slow
    monkeypatch.setattr(torch.backends.mkldnn, "is_available", lambda: False)
    assert kernels.mkl_is_slow.__wrapped__() is False


def test_a_loaded_model_is_fine_tuned_and_merged_with_it(
    slow_mkl: None, configure: Callable[..., Config], tmp_path: Path
) -> None:
    cfg = configure(*tiny_words(tmp_path))
    model, _ = models.load(cfg.model, modalities="t", cache_root=tmp_path)
    kinds = {type(m) for m in model.modules() if isinstance(m, nn.Linear)}
    assert kinds == {OneDnnLinear}
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    [language] = [count for count in adapters.apply(model, cfg.finetuning) if count.tower == "language"]
    assert language.lora_modules > 0
    lora_layers.merge(model)  # of adapters that add nothing yet
    assert before.keys() == model.state_dict().keys()
    assert all(torch.equal(before[name], tensor) for name, tensor in model.state_dict().items())


@pytest.mark.parametrize("slow", [True, False])
@pytest.mark.parametrize("bias", [True, False])
def test_a_patch_convolution_has_the_values_and_gradients_of_a_convolution(
    slow: bool, bias: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kernels, "mkl_is_slow", lambda: slow)
    torch.manual_seed(0)
    module = nn.Conv3d(3, 64, (2, 14, 14), (2, 14, 14), bias=bias)
    found = []
    for kind in (nn.Conv3d, PatchConv3d):
        module.__class__ = kind
        module.zero_grad()
        x = torch.randn(240, 3, 2, 14, 14, generator=torch.Generator().manual_seed(1)).requires_grad_()
        given = module(x)
        given.square().sum().backward()
        found.append([given, x.grad, *(parameter.grad for parameter in module.parameters())])
    assert found[0][0].shape == (240, 64, 1, 1, 1)
    for one, two in zip(*found, strict=True):
        assert one.shape == two.shape and torch.allclose(one, two, rtol=1e-5, atol=1e-4), (one - two).abs().max()


@pytest.mark.parametrize(
    ("how", "shape"),
    [
        ({}, (2, 4, 4, 4, 4)),  # larger than the kernel
        ({}, (4, 2, 2, 2)),  # no batch
        ({"padding": 1}, (2, 4, 2, 2, 2)),
        ({"dilation": 2}, (2, 4, 3, 3, 3)),
        ({"groups": 2}, (2, 4, 2, 2, 2)),
    ],
)
def test_every_other_convolution_stays_as_it_was(how: dict, shape: tuple[int, ...]) -> None:
    module = nn.Conv3d(4, 4, 2, **how)
    x = torch.randn(shape)
    expected = module(x)
    kernels.use(module)
    assert type(module) is PatchConv3d and torch.equal(module(x), expected)


def test_the_vision_towers_of_qwen_have_them(loaded: Callable) -> None:
    for name in ("qwen_omni", "qwen3_omni", "qwen3_vl"):
        visual = loaded(name).model.backbone.model.visual
        assert type(visual.patch_embed.proj) is PatchConv3d
