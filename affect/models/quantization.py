"""4-bit weights of frozen linear modules: NF4 with double quantisation (Dettmers et al., QLoRA, NeurIPS 2023, arXiv
2305.14314), by bitsandbytes. It is imported only where 4 bits are asked for."""

from functools import cache

import bitsandbytes
import torch
from bitsandbytes.functional import dequantize_4bit, quantize_4bit
from torch import nn

from affect.config import ConfigError

QUANTISATION = {"load_in_4bit": True, "bnb_4bit_quant_type": "nf4", "bnb_4bit_use_double_quant": True}
"""The same in the words of transformers' BitsAndBytesConfig."""

BLOCK = 64
"""Weights that share a scale."""


def quantise(model: nn.Module, names: list[str]) -> None:
    """Puts the linear modules of these names into 4 bits, in place and on the device they are on. A weight takes half a
    byte, and another 0.016 bytes for the scales of its block. Raises ConfigError where bitsandbytes would compute with
    other weights than it was given."""
    broken = [name for name in names if model.get_submodule(name).in_features % BLOCK]
    if broken and not torch.cuda.is_available() and not _parts_of_blocks_are_restored():
        width = model.get_submodule(broken[0]).in_features
        raise ConfigError(
            f"finetuning.four_bit=true, but bitsandbytes {bitsandbytes.__version__} restores rows that are no whole"
            f" number of {BLOCK} weights wrongly on this processor, as the {width} of {broken[0]}, one of"
            f" {len(broken)} modules: set finetuning.four_bit=false, or use a GPU"
        )
    for name in names:
        linear = model.get_submodule(name)
        assert isinstance(linear, nn.Linear) and not isinstance(linear, bitsandbytes.nn.Linear4bit), name
        model.set_submodule(name, _quantised(linear))
    # By this peft tells that a Linear4bit has to get LoRA of its own kind.
    model.is_loaded_in_4bit = True


@cache
def _parts_of_blocks_are_restored() -> bool:
    """Whether rows of one and a half blocks come back as they were, but for rounding. With AVX-512 they do not in
    bitsandbytes 0.50, which takes the scales of other blocks for them."""
    spread = torch.arange(BLOCK * 3 * BLOCK // 2) * 0.618 % 1 - 0.5
    rows = spread.view(BLOCK, 3 * BLOCK // 2) * torch.arange(1, BLOCK + 1)[:, None]
    back = dequantize_4bit(*quantize_4bit(rows, quant_type=QUANTISATION["bnb_4bit_quant_type"]))
    # Rounding is 0.16 of a row's largest weight at the most, other scales make it 0.4 and more.
    return bool(((back - rows).abs().amax(1) < 0.25 * rows.abs().amax(1)).all())


def _quantised(linear: nn.Linear) -> nn.Module:
    made = bitsandbytes.nn.Linear4bit(
        linear.in_features,
        linear.out_features,
        bias=linear.bias is not None,
        compute_dtype=linear.weight.dtype,
        quant_type=QUANTISATION["bnb_4bit_quant_type"],
        compress_statistics=QUANTISATION["bnb_4bit_use_double_quant"],
        device="meta",
    )
    made.weight = bitsandbytes.nn.Params4bit(
        linear.weight.data,
        requires_grad=False,
        quant_type=QUANTISATION["bnb_4bit_quant_type"],
        compress_statistics=QUANTISATION["bnb_4bit_use_double_quant"],
        module=made,
    ).to(linear.weight.device)
    if linear.bias is not None:
        made.bias = nn.Parameter(linear.bias.data, requires_grad=False)
    # On processors with AVX512-BF16 the first evaluation would otherwise repack the weights and compute in bfloat16
    # from then on, so that a validation would change what is trained after it.
    made.support_avx512bf16_for_cpu = False
    return made.train(linear.training)


def is_quantised(module: nn.Module) -> bool:
    return isinstance(module, bitsandbytes.nn.Linear4bit)


def restored(module: nn.Module) -> nn.Linear:
    """An ordinary linear module with the weights that a quantised one computes with."""
    weight = dequantize_4bit(module.weight.data, module.weight.quant_state)
    linear = nn.Linear(
        module.in_features, module.out_features, bias=module.bias is not None, device="meta", dtype=weight.dtype
    )
    linear.weight = nn.Parameter(weight.to(module.compute_dtype), requires_grad=False)
    if module.bias is not None:
        linear.bias = nn.Parameter(module.bias.data, requires_grad=False)
    return linear.train(module.training)
