"""Finds parameters that no output depends on.

A parameter that the loss does not depend on never gets a gradient: on one device it stays unchanged and is counted as
trained, and DistributedDataParallel fails at its second step. And LoRA changes the output of a linear module that is
called; code that reads the module's weight directly bypasses the adapter.
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
"""What a model raises that cannot be copied, or that reads values where tensors have shapes only."""

_READ = re.compile(r"\bself\.(\w+)\.weight\b(?!\.(?:dtype|device|shape|size|ndim|requires_grad)\b)")


def read_directly(model: nn.Module) -> set[str]:
    """Names of the linear modules whose weight is read by their parent module, which passes it to a fused kernel or
    changes it first: out_proj of Mamba's mixers and of torch.nn.MultiheadAttention, all projections of WavLM's
    attention, correction_coefs of Gemma 3n.

    The source code is searched instead of run: without a GPU the kernels are absent and the modules are called. Where
    there is no source, they are assumed to be called.
    """
    return {
        f"{name}.{child}" if name else child
        for name, owner in model.named_modules()
        for child, module in owner.named_children()
        if isinstance(module, nn.Linear) and child in _weights_read(type(owner))
    }


@cache
def _weights_read(kind: type) -> frozenset[str]:
    """Attributes of a class's instances whose weight its methods read, beyond type and shape."""
    attributes: set[str] = set()
    for base in kind.__mro__:
        for member in vars(base).values() if base not in (nn.Module, object) else ():
            method = inspect.unwrap(member) if inspect.isfunction(member) else None
            if method is not None and "weight" in method.__code__.co_names:
                try:
                    attributes.update(_READ.findall(inspect.getsource(method)))
                except (OSError, TypeError):
                    continue
    return frozenset(attributes)


def not_reached(parameters: Iterable[tuple[str, torch.Tensor]], output: torch.Tensor) -> set[str]:
    """Names of the parameters that are not in the autograd graph of `output`."""
    leaves, seen, ahead = set(), set(), [output.grad_fn]
    while ahead:
        node = ahead.pop()
        if node is not None and node not in seen:
            seen.add(node)
            leaves.add(id(getattr(node, "variable", None)))
            ahead += [following for following, _ in node.next_functions]
    return {name for name, parameter in parameters if id(parameter) not in leaves}


def unused(module: nn.Module, *runs: Callable[[nn.Module], torch.Tensor]) -> set[str]:
    """Names of the parameters of `module` that its output does not depend on.

    Each of `runs` computes an output from tensors on the device "meta"; the first that succeeds decides. They get a
    copy on "meta", so nothing is computed and `module` stays as it is. A module that cannot be run this way is assumed
    to use all its parameters.
    """
    for run in runs:
        try:
            copied = _meta_copy(module)
            return not_reached(copied.named_parameters(), run(copied))
        except UNFIT:
            continue
    return set()


def _meta_copy(module: nn.Module) -> nn.Module:
    memo: dict[int, object] = {}
    for tensor in chain(module.parameters(), module.buffers()):
        # Some kernels exist for this type only; the graph is the same in all types.
        dtype = torch.bfloat16 if tensor.is_floating_point() else tensor.dtype
        empty = torch.empty(tensor.shape, dtype=dtype, device="meta")
        if isinstance(tensor, nn.Parameter):
            empty = nn.Parameter(empty, requires_grad=tensor.is_floating_point())
        memo[id(tensor)] = empty
    copied = copy.deepcopy(module, memo).eval()
    for part in copied.modules():
        # Every class has this attention; others need a GPU, or read values.
        if getattr(getattr(part, "config", None), "_attn_implementation", None) is not None:
            part.config._attn_implementation = "eager"
    return copied
