"""Convolutions of whole patches give what nn.Conv3d gives."""

from pathlib import Path

import pytest
import torch
from test_native import made
from torch import nn

from affect.models import kernels, patches
from affect.models.patches import PatchConv3d


@pytest.mark.parametrize("slow", [True, False])
@pytest.mark.parametrize("bias", [True, False])
def test_values_and_gradients_are_those_of_a_convolution(
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
    patches.use(module)
    assert type(module) is PatchConv3d and torch.equal(module(x), expected)


def test_the_vision_towers_of_qwen_have_them(tmp_path: Path) -> None:
    for name in ("qwen_omni", "qwen3_omni", "qwen3_vl"):
        visual = made(name, tmp_path / name).model.backbone.model.visual
        assert type(visual.patch_embed.proj) is PatchConv3d
