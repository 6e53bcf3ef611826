"""Linear modules whose large products are oneDNN's give what nn.Linear gives."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from tiny_models import tiny_words
from torch import nn
from torch.nn import functional as F

from affect import models
from affect.config import Config
from affect.models import adapters, kernels
from affect.models.kernels import MIN_ROWS, MIN_WORK, OneDnnLinear


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
    adapters.merge(model)  # of adapters that add nothing yet
    assert before.keys() == model.state_dict().keys()
    assert all(torch.equal(before[name], tensor) for name, tensor in model.state_dict().items())
