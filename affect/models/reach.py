"""Finds parameters that no output depends on.

A parameter that the loss does not depend on never gets a gradient: trained on one device it stays as it is and is
counted all the same, and DistributedDataParallel stops at its second step. And LoRA changes what a linear module
returns when it is called; code that takes the module's weight instead passes the adapter by.
"""

import copy
import inspect
import re
from collections.abc import Callable, Iterable
from functools import cache
from itertools import chain

import torch
from torch import nn

UNFIT = (RuntimeError, TypeError, ValueError, AttributeError, LookupError, AssertionError, OSError, ImportError)
"""What a model raises that cannot be copied, or looks at values where there are none, which is no fault of it."""

_READ = re.compile(r"\bself\.(\w+)\.weight\b(?!\.(?:dtype|device|shape|size|ndim|requires_grad)\b)")


def read_directly(model: nn.Module) -> set[str]:
    """Names of the linear modules whose weight is taken by the module that they are a part of, which gives it to a
    fused kernel or changes it first: out_proj of Mamba's mixers and of torch.nn.MultiheadAttention, all projections of
    WavLM's attention, correction_coefs of Gemma 3n.

    The code is looked at rather than tried out: without a GPU the kernels are not there, and then the modules are
    called. Code that cannot be looked at is taken to call them.
    """
    return {
        f"{name}.{child}" if name else child
        for name, owner in model.named_modules()
        for child, module in owner.named_children()
        if isinstance(module, nn.Linear) and child in _weights_read(type(owner))
    }


@cache
def _weights_read(kind: type) -> frozenset[str]:
    """Attributes of a class's instances whose weight its methods read, for more than its type or shape."""
    found: set[str] = set()
    for base in kind.__mro__:
        for member in vars(base).values() if base not in (nn.Module, object) else ():
            method = inspect.unwrap(member) if inspect.isfunction(member) else None
            if method is not None and "weight" in method.__code__.co_names:
                try:
                    found.update(_READ.findall(inspect.getsource(method)))
                except (OSError, TypeError):
                    continue
    return frozenset(found)


def not_reached(parameters: Iterable[tuple[str, torch.Tensor]], output: torch.Tensor) -> set[str]:
    """Names of the parameters that `output` was not computed from, as its graph of gradients tells."""
    leaves, seen, ahead = set(), set(), [output.grad_fn]
    while ahead:
        node = ahead.pop()
        if node is not None and node not in seen:
            seen.add(node)
            leaves.add(id(getattr(node, "variable", None)))
            ahead += [following for following, _ in node.next_functions]
    return {name for name, parameter in parameters if id(parameter) not in leaves}


def unused(module: nn.Module, *runs: Callable[[nn.Module], torch.Tensor]) -> set[str]:
    """Names of the parameters of `module` that its output does not depend on. Each of `runs` computes an output, from
    tensors on the device "meta"; the first that ends well tells.

    They are given a copy without values, which has shapes alone, so that nothing is computed and nothing of it stays in
    `module`. A module that cannot be run so is taken to use all its parameters.
    """
    for run in runs:
        try:
            sketch = _sketch(module)
            return not_reached(sketch.named_parameters(), run(sketch))
        except UNFIT:
            continue
    return set()


def _sketch(module: nn.Module) -> nn.Module:
    memo: dict[int, object] = {}
    for tensor in chain(module.parameters(), module.buffers()):
        # Some kernels are there for this type alone; where gradients go is the same in all.
        kind = torch.bfloat16 if tensor.is_floating_point() else tensor.dtype
        made = torch.empty(tensor.shape, dtype=kind, device="meta")
        if isinstance(tensor, nn.Parameter):
            made = nn.Parameter(made, requires_grad=tensor.is_floating_point())
        memo[id(tensor)] = made
    sketch = copy.deepcopy(module, memo).eval()
    for part in sketch.modules():
        # Every class has this attention; others want a GPU, or look at values.
        if getattr(getattr(part, "config", None), "_attn_implementation", None) is not None:
            part.config._attn_implementation = "eager"
    return sketch
