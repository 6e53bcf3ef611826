"""Faster float32 layers on CPUs, with the same weights and names.

Sums are added in another order, so results differ in their last bits.

Matrix products: MKL takes its fast kernels on Intel's processors alone. oneDNN, which torch has beside it, takes them
wherever they can run, but torch uses it for convolutions and not for float32 matrix products. So a product is computed
as a convolution of one pixel, whose memory is laid out alike. On an AMD EPYC with AVX-512 a training step of
SmolLM2-135M takes 0.63 of the time.

Patch convolutions: the vision towers of Qwen are given patches that have been cut out already, and convolve each with
kernels of the patch's size. torch takes several times as long for that as for the product: 235 ms instead of 28 (64
with MKL) for 4608 patches and 1280 kernels on two cores of an AMD EPYC.
"""

import platform
from functools import cache
from pathlib import Path

import torch
from torch import nn
from torch.nn import functional as F

MIN_ROWS, MIN_WORK = 128, 2**24
"""Rows, and multiplications, from which oneDNN is faster: below, converting the weights to its layout takes longer.
Measured for 64 × 64 to 2048 × 11008 weights, with and without gradients, on two cores."""


class OneDnnLinear(nn.Linear):
    """nn.Linear with oneDNN for large products. On a GPU and in other types it is nn.Linear."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return linear(x, self.weight, self.bias)


class PatchConv3d(nn.Conv3d):
    """nn.Conv3d as a matrix product where each input is as large as the kernel."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        plain = self.groups == 1 and set(self.dilation) == {1} and not any(self.padding)
        if not plain or x.dim() != 5 or tuple(x.shape[2:]) != self.kernel_size:
            return super().forward(x)
        product = linear if mkl_is_slow() else F.linear
        return product(x.flatten(1), self.weight.flatten(1), self.bias)[..., None, None, None]


def linear(x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None) -> torch.Tensor:
    """As torch.nn.functional.linear."""
    if x.device.type != "cpu" or x.dtype is not torch.float32 or torch.compiler.is_compiling():
        return F.linear(x, weight, bias)
    # Two axes: the last positions of a batch are not contiguous, and torch would multiply them row by row.
    rows = x.reshape(-1, x.shape[-1])
    if len(rows) >= MIN_ROWS and len(rows) * weight.numel() >= MIN_WORK:
        # Rows are the pixels of one picture, and features its channels, which stand last in memory.
        pixels = rows[None, None].permute(0, 3, 1, 2)
        product = F.conv2d(pixels, weight[:, :, None, None], bias).permute(0, 2, 3, 1)
    else:
        product = F.linear(rows, weight, bias)
    return product.reshape(*x.shape[:-1], len(weight))


def use(model: nn.Module) -> None:
    """Makes the three-dimensional convolutions of `model` PatchConv3d and, where MKL is slow, its linear modules
    OneDnnLinear."""
    faster: dict[type, type] = {nn.Conv3d: PatchConv3d} | ({nn.Linear: OneDnnLinear} if mkl_is_slow() else {})
    for module in model.modules():
        if type(module) in faster:
            module.__class__ = faster[type(module)]


@cache
def mkl_is_slow() -> bool:
    """Whether torch multiplies with MKL, has oneDNN, and runs on an AMD processor."""
    if not (torch.backends.mkl.is_available() and torch.backends.mkldnn.is_available()):
        return False
    described = Path("/proc/cpuinfo")  # of Linux; on Windows platform knows
    return "AuthenticAMD" in (described.read_text() if described.is_file() else platform.processor())
