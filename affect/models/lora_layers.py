"""LoRA's layers: peft's settings for them, how PiSSA starts them, and merging or taking them out."""

import torch
from peft import LoraConfig, get_peft_model_state_dict
from peft.tuners import lora
from peft.tuners.tuners_utils import BaseTunerLayer
from torch import nn

from affect.config import FinetuningConfig, LoraMethod

ADAPTER_MARK = "lora_"
"""Part of the name of every parameter that peft adds for LoRA."""

TRAINED, START = "default", "start"
"""Names of peft's adapters: the trained one, and with PiSSA its frozen initial value, which is subtracted."""


def lora_config(config: FinetuningConfig, names: list[str]) -> LoraConfig:
    """peft's configuration for modules of these names. PiSSA is plain LoRA that `apply` initialises differently."""
    return LoraConfig(
        r=config.rank,
        lora_alpha=config.alpha,
        lora_dropout=config.dropout,
        use_rslora=config.method is LoraMethod.rslora,
        use_dora=config.method is LoraMethod.dora,
        target_modules=names,
        bias="none",
    )


@torch.no_grad()
def start_from_singular_values(
    layer: BaseTunerLayer, config: FinetuningConfig, device: torch.device | None, restored: bool
) -> None:
    """Initialises PiSSA (Meng et al., NeurIPS 2024, arXiv 2404.02948): B = U √(S / s) and A = √(S / s) Vᵀ of the `rank`
    greatest singular values of W, with scaling s.

    The paper replaces W by W - s B A. Here a second, frozen adapter holds A and -B instead: the sum is the same, and W
    stays as it is, in its type, for other jobs and the export. A checkpoint has both adapters, so nothing is computed
    for a `restored` one.
    """
    start = lora_config(config, [])
    layer.update_layer(START, start.r, lora_alpha=start.lora_alpha, config=start)
    layer.lora_dropout[START] = nn.Identity()  # part of the weights, which have no dropout
    layer.set_adapter([TRAINED, START])
    pairs = [(layer.lora_A[adapter].weight, layer.lora_B[adapter].weight) for adapter in (TRAINED, START)]
    for a, b in pairs:
        a.zero_(), b.zero_()
    if restored:
        return
    weight = weight_of(layer.get_base_layer())
    u, s, v = _greatest_singular_values(weight.to(device or weight.device).float(), start.r)
    root = (s / layer.scaling[TRAINED]).sqrt()
    # A matrix with fewer than `rank` rows or columns has fewer singular values; the rest stays zero.
    rank = len(root)
    for (a, b), sign in zip(pairs, (1.0, -1.0), strict=True):
        a[:rank] = (root[:, None] * v).to(a)
        b[:, :rank] = (sign * u * root).to(b)


EXACT_UP_TO = 256
"""Rows or columns up to which the singular values are computed exactly."""

OVERSAMPLED, ITERATIONS = 16, 8
"""Oversampling and power iterations of the randomised SVD for larger matrices, which peft calls pissa_niter_8."""


def _greatest_singular_values(weight: torch.Tensor, rank: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """U[rows, rank], S[rank] and Vᵀ[rank, columns], or as many as the matrix has.

    Those of a large matrix are approximate (randomised SVD, Halko et al. 2011, arXiv 0909.4061). That moves the start
    of PiSSA a little, not what the model computes there. Deterministic on one device; the random state is kept.
    """
    if min(weight.shape) <= max(EXACT_UP_TO, rank + OVERSAMPLED):
        u, s, v = torch.linalg.svd(weight, full_matrices=False)
    else:
        with torch.random.fork_rng(devices=[weight.device] if weight.is_cuda else []):
            # torch.manual_seed would seed all devices, also those whose state is not restored.
            generators = torch.cuda.default_generators if weight.is_cuda else [torch.default_generator]
            generators[weight.device.index or 0].manual_seed(0)
            u, s, columns = torch.svd_lowrank(weight, q=rank + OVERSAMPLED, niter=ITERATIONS)
        v = columns.T
    return u[:, :rank], s[:rank], v[:rank]


def weight_of(linear: nn.Module) -> torch.Tensor:
    """The weight matrix [outputs, inputs] of a linear module, dequantised where it is in 4 bits."""
    if getattr(linear.weight, "quant_state", None) is None:
        return linear.weight
    from affect.models import quantization

    return quantization.restored(linear).weight


def is_start(name: str) -> bool:
    return f".{START}." in name


@torch.no_grad()
def merge(model: nn.Module) -> None:
    """Adds the adapters to the weights by peft and leaves ordinary linear modules, in place.

    4-bit weights are written out in the type they are computed in. Shared weights of the base stay as they are.
    """
    for name, layer in list(model.named_modules()):
        if isinstance(layer, BaseTunerLayer):
            base = layer.get_base_layer()
            dtype = base.weight.dtype if base.weight.is_floating_point() else base.compute_dtype
            linear = nn.Linear(base.in_features, base.out_features, bias=base.bias is not None, device="meta")
            linear.weight = nn.Parameter(weight_of(base).to(torch.float32, copy=True), requires_grad=False)
            # In float32, so that PiSSA's two adapters, which nearly cancel, are rounded to bfloat16 once.
            layer.base_layer = linear
            layer.float()
            # Not layer.merge(), which for a 4-bit layer would round the sum to 4 bits.
            lora.Linear.merge(layer)
            linear.weight.data, linear.bias = linear.weight.data.to(dtype), base.bias
            model.set_submodule(name, linear.train(layer.training))
    if getattr(model, "is_loaded_in_4bit", False):
        from affect.models import quantization

        for name, module in list(model.named_modules()):
            if quantization.is_quantised(module):
                model.set_submodule(name, quantization.restored(module))
        model.is_loaded_in_4bit = False


def adapter_state(model: nn.Module, part: str) -> dict[str, torch.Tensor]:
    """The LoRA tensors of the submodule `part` as one adapter, under peft's names from there on.

    PiSSA's two adapters become one of twice the rank: [A; A₀] and [B, -B₀].
    """
    if not hasattr(model, "peft_config"):
        return {}
    state = get_peft_model_state_dict(model, adapter_name=TRAINED, save_embedding_layers=False)
    start = {name.replace(f".{START}", ""): p for name, p in model.named_parameters() if is_start(name)}
    for name, tensor in start.items():
        state[name] = torch.cat([state[name], tensor.detach()], dim=0 if ".lora_A." in name else 1)
    return {
        name.removeprefix(f"{part}."): tensor.contiguous().cpu()
        for name, tensor in state.items()
        if name.startswith(f"{part}.")
    }
