"""Fully sharded training (torch's FSDP2): every process keeps a part of all weights, gradients and optimiser states.

A layer of the language model is gathered while it computes, and everything else while a step computes. Only what every
batch runs through may be gathered by itself, since all processes take part in it: one whose batch has no sound would
not call the layers of the audio encoder. An evaluation gathers all weights once, because the processes ask different
questions and generate answers of different length.
"""

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

import torch
from torch import distributed, nn
from torch.distributed.fsdp import FSDPModule, fully_shard, register_fsdp_forward_method
from torch.distributed.tensor import DTensor, distribute_tensor
from torch.nn.modules.batchnorm import _BatchNorm

from affect.models import weights_cache
from affect.models.towers import tower_of
from affect.training.compile import layers

if TYPE_CHECKING:
    from torch.distributed.device_mesh import DeviceMesh


def shard(module: nn.Module, model: Any, mesh: "DeviceMesh", *methods: str) -> None:
    """Divides the parameters of `module` among the processes of `mesh`, in place, once. `model`, a part of it, is the
    models.Model; `methods` are those of `module` during which what belongs to no layer is gathered."""
    if isinstance(module, FSDPModule):
        return
    weights_cache.give_up(set(model.modules()))  # the next job wants whole weights
    names = {layer: name for name, layer in model.named_modules()}
    blocks: Any = [each for each in layers(model) if tower_of(names[each], model.towers) == "language"]
    for layer in blocks:
        _give_equal_starts(layer, mesh)
        layer.register_forward_hook(_reach_all)  # before torch's own, which takes the gathered parameters away
        fully_shard(layer, mesh=mesh)
    _give_equal_starts(module, mesh)
    fully_shard(module, mesh=mesh)
    # In a backward pass each layer has the one before it gathered, beside what it does itself. By default torch goes by
    # the order of all forward passes since the last backward pass, and in an evaluation every process has other ones.
    for before, layer in zip([module, *blocks], [*blocks, module], strict=True):
        layer.set_modules_to_backward_prefetch([before])
    for name in methods:
        register_fsdp_forward_method(module, name)


def _give_equal_starts(module: nn.Module, mesh: "DeviceMesh") -> None:
    """Gives all processes the trained parameters of the first one: each keeps a part of its own, and what they have
    computed so far may differ by rounding."""
    for parameter in module.parameters():
        if parameter.requires_grad and not isinstance(parameter, DTensor):
            value = parameter.detach().to(mesh.device_type)
            distributed.broadcast(value, 0)
            parameter.data.copy_(value)


def _reach_all(layer: nn.Module, _: Any, output: Any) -> Any:
    """Makes the output of a layer depend on all its trained parameters, also where this batch does not use them (an
    expert to which no token went): the processes exchange the gradients that they have, and have to have the same."""
    trained = [parameter for parameter in layer.parameters() if parameter.requires_grad]
    if not trained or not torch.is_grad_enabled():
        return output
    nothing = sum(parameter.sum() * 0 for parameter in trained)
    if isinstance(output, tuple):
        return output[0] + nothing.to(output[0].dtype), *output[1:]
    return output + nothing.to(output.dtype)


def _parts(module: nn.Module) -> Iterator[FSDPModule]:
    return (part for part in module.modules() if isinstance(part, FSDPModule))


def gather(module: nn.Module) -> None:
    """Gathers all parameters in every process, until `divide`, and takes the first one's running statistics, which each
    has made of its own clips."""
    for norm in (each for each in module.modules() if isinstance(each, _BatchNorm) and isinstance(module, FSDPModule)):
        for statistics in norm.buffers(recurse=False):
            distributed.broadcast(statistics, 0)
    for part in _parts(module):
        part.set_reshard_after_forward(False, recurse=False)
        part.unshard()


def divide(module: nn.Module) -> None:
    """Leaves each process its part of the parameters again."""
    for part in _parts(module):
        part.reshard()
        if part is not module:
            part.set_reshard_after_forward(True, recurse=False)


# ---------------------------------------------------------------- checkpoints


def whole(tensor: torch.Tensor) -> torch.Tensor:
    """A divided tensor as one, on the CPU of the first process; the others, which have to call this too, get an empty
    one. Tensors that are not divided stay as they are."""
    if not isinstance(tensor, DTensor):
        return tensor
    full = tensor.full_tensor()
    return full.cpu() if distributed.get_rank() == 0 else full.new_empty(0)


def divided_like(parameter: torch.Tensor | None, tensor: torch.Tensor) -> torch.Tensor:
    """This process's part of a whole tensor, which all have, where `parameter` is divided; else the tensor."""
    if not isinstance(parameter, DTensor):
        return tensor
    return distribute_tensor(tensor, parameter.device_mesh, parameter.placements, src_data_rank=None)


def divided_state(model: nn.Module, state: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """The tensors of a checkpoint, divided as the parameters of `model` of the same names are."""
    parameters = dict(model.named_parameters(remove_duplicate=False))
    return {name: divided_like(parameters.get(name), tensor) for name, tensor in state.items()}
