"""Faster float32 matrix products by oneDNN on processors for which MKL is slow.

MKL takes its fast kernels on Intel's processors alone. oneDNN, which torch has beside it, takes them wherever they
can run, but torch gives it convolutions and no float32 matrix product: so a product is written here as a convolution of
one pixel, whose memory is laid out alike. On an AMD EPYC with AVX-512 a training step of SmolLM2-135M takes 0.63 of the
time. The sums are added up in another order, so results differ in their last bits.
"""

import platform
from functools import cache
from pathlib import Path

import torch
from torch import nn
from torch.nn import functional as F

MIN_ROWS, MIN_WORK = 128, 2**24
"""Rows, and multiplications, from which it is faster: below, it takes longer to bring the weights into oneDNN's order.
Measured for 64 × 64 to 2048 × 11008 weights, with and without gradients, on two cores."""


class OneDnnLinear(nn.Linear):
    """nn.Linear, whose large products are oneDNN's. On a GPU and in other types it is nn.Linear."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return linear(x, self.weight, self.bias)


def linear(x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None) -> torch.Tensor:
    """As torch.nn.functional.linear."""
    if x.device.type != "cpu" or x.dtype is not torch.float32 or torch.compiler.is_compiling():
        return F.linear(x, weight, bias)
    # Two axes: a batch of which only the last positions are asked for is not contiguous, and torch would multiply it
    # row by row.
    rows = x.reshape(-1, x.shape[-1])
    if len(rows) >= MIN_ROWS and len(rows) * weight.numel() >= MIN_WORK:
        # Rows are the pixels of one picture, and features its channels, which stand last in memory.
        pixels = rows[None, None].permute(0, 3, 1, 2)
        made = F.conv2d(pixels, weight[:, :, None, None], bias).permute(0, 2, 3, 1)
    else:
        made = F.linear(rows, weight, bias)
    return made.reshape(*x.shape[:-1], len(weight))


def use(model: nn.Module) -> None:
    """Makes the linear modules of `model` OneDnnLinear where MKL is slow; their weights and names stay."""
    if mkl_is_slow():
        for module in model.modules():
            if type(module) is nn.Linear:
                module.__class__ = OneDnnLinear


@cache
def mkl_is_slow() -> bool:
    """Whether torch multiplies with MKL, has oneDNN, and runs on a processor of AMD's."""
    if not (torch.backends.mkl.is_available() and torch.backends.mkldnn.is_available()):
        return False
    described = Path("/proc/cpuinfo")  # of Linux; on Windows platform knows
    return "AuthenticAMD" in (described.read_text() if described.is_file() else platform.processor())
