"""4-bit weights of frozen linear modules: NF4 with double quantisation (QLoRA, Dettmers et al., NeurIPS 2023, arXiv
2305.14314), by bitsandbytes. Imported only where finetuning.four_bit is set."""

from functools import cache

import bitsandbytes
import torch
from bitsandbytes.functional import dequantize_4bit, quantize_4bit
from torch import nn

from affect.config import ConfigError

QUANTISATION = {"load_in_4bit": True, "bnb_4bit_quant_type": "nf4", "bnb_4bit_use_double_quant": True}
"""Arguments of transformers' BitsAndBytesConfig for the same quantisation."""

BLOCK = 64
"""Weights that share a scale."""


def quantise(model: nn.Module, names: list[str]) -> None:
    """Quantises the linear modules of these names, in place and on their device. A weight takes half a byte, and its
    share of the block's scales 0.016 bytes. Raises ConfigError where bitsandbytes would dequantise wrongly."""
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
    # peft adds its LoRA for Linear4bit only to models with this mark.
    model.is_loaded_in_4bit = True


@cache
def _parts_of_blocks_are_restored() -> bool:
    """Whether rows of one and a half blocks survive quantisation up to rounding. With AVX-512 they do not in
    bitsandbytes 0.50, which applies the scales of other blocks."""
    spread = torch.arange(BLOCK * 3 * BLOCK // 2) * 0.618 % 1 - 0.5
    rows = spread.view(BLOCK, 3 * BLOCK // 2) * torch.arange(1, BLOCK + 1)[:, None]
    dequantised = dequantize_4bit(*quantize_4bit(rows, quant_type=QUANTISATION["bnb_4bit_quant_type"]))
    # Rounding errs by at most 0.16 of a row's largest weight, wrong scales by 0.4 and more.
    return bool(((dequantised - rows).abs().amax(1) < 0.25 * rows.abs().amax(1)).all())


def _quantised(linear: nn.Linear) -> nn.Module:
    quantised = bitsandbytes.nn.Linear4bit(
        linear.in_features,
        linear.out_features,
        bias=linear.bias is not None,
        compute_dtype=linear.weight.dtype,
        quant_type=QUANTISATION["bnb_4bit_quant_type"],
        compress_statistics=QUANTISATION["bnb_4bit_use_double_quant"],
        device="meta",
    )
    quantised.weight = bitsandbytes.nn.Params4bit(
        linear.weight.data,
        requires_grad=False,
        quant_type=QUANTISATION["bnb_4bit_quant_type"],
        compress_statistics=QUANTISATION["bnb_4bit_use_double_quant"],
        module=quantised,
    ).to(linear.weight.device)
    if linear.bias is not None:
        quantised.bias = nn.Parameter(linear.bias.data, requires_grad=False)
    # On processors with AVX512-BF16 the first evaluation would otherwise repack the weights and compute in bfloat16
    # from then on, so that a validation would change the training after it.
    quantised.support_avx512bf16_for_cpu = False
    return quantised.train(linear.training)


def is_quantised(module: nn.Module) -> bool:
    return isinstance(module, bitsandbytes.nn.Linear4bit)


def restored(module: nn.Module) -> nn.Linear:
    """An ordinary linear module with the dequantised weights."""
    weight = dequantize_4bit(module.weight.data, module.weight.quant_state)
    linear = nn.Linear(
        module.in_features, module.out_features, bias=module.bias is not None, device="meta", dtype=weight.dtype
    )
    linear.weight = nn.Parameter(weight.to(module.compute_dtype), requires_grad=False)
    if module.bias is not None:
        linear.bias = nn.Parameter(module.bias.data, requires_grad=False)
    return linear.train(module.training)
