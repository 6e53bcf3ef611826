"""Which parameters are trained, and how: LoRA and its variants, or a whole tower."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TypedDict

import torch
from peft import LoraConfig, inject_adapter_in_model
from peft.tuners.tuners_utils import BaseTunerLayer
from torch import nn
from torch.nn.functional import pad
from torch.nn.modules.batchnorm import _BatchNorm
from transformers import PreTrainedModel

from affect.config import ConfigError, FinetuningConfig, LoraMethod, Tower, near
from affect.models import reach, weights_cache

ADAPTER_MARK = "lora_"
"""Part of the names of all parameters that peft adds for LoRA."""

TRAINED, START = "default", "start"
"""Names of peft's adapters: what is trained, and, of PiSSA, what it started from, which is subtracted."""

HEAD = "head"
"""The tower of affect/models/heads.py: always trained whole, since it is always new."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TowerCount:
    """What is trained of one tower, for the listing at the start of a run."""

    tower: str
    mode: str
    parameters: int
    trained: int
    lora_modules: int
    learning_rate: float | None
    """None where nothing is trained."""


def tower_of(name: str, towers: dict[str, list[str]]) -> str:
    """The tower a module or parameter belongs to: that with the longest prefix that matches."""
    matches = [
        (len(prefix), tower)
        for tower, prefixes in towers.items()
        for prefix in prefixes
        if name == prefix or name.startswith(prefix + ".")
    ]
    assert matches, f"{name} belongs to no tower: the family's `towers` has to cover every parameter"
    return max(matches)[1]


def mode_of(tower: str, model: nn.Module, config: FinetuningConfig) -> Tower:
    """How a tower is trained, with auto resolved."""
    if tower == HEAD:
        return Tower.full
    mode = getattr(config, tower)
    if mode is not Tower.auto:
        return mode
    return Tower.full if tower in model.new else Tower.frozen


def apply(
    model: nn.Module, config: FinetuningConfig, *, device: torch.device | None = None, restored: bool = False
) -> list[TowerCount]:
    """Puts LoRA into `model` and sets what requires a gradient, in place; returns the count by tower.

    What no answer depends on is not trained, and linear modules that are not called get no LoRA. `device` is where the
    singular vectors are computed that PiSSA starts from; None is where the weights are. With `restored` they are not
    computed: `load_trained_state` has to follow, whose state holds them.

    Raises ConfigError when a tower that should get LoRA has no module of the names in `targets`, and when a name in
    `targets` is that of no module, or only of modules that LoRA would not change.
    """
    modes = {tower: mode_of(tower, model, config) for tower in model.towers}
    trained = {tower for tower, mode in modes.items() if mode is not Tower.frozen}
    read, unused = reach.read_directly(model), _unused(model, trained)
    passed_by = read | {name.removesuffix(".weight") for name in unused}
    targets = {
        tower: list(_targets(model, tower, config.targets, passed_by))
        for tower, mode in modes.items()
        if mode is Tower.lora
    }
    _check_targets(model, targets, config, passed_by)
    model.base_sample = base_sample(model)
    if config.four_bit:
        from affect.models import quantization

        # Whoever reads a weight wants it as it is, not as packed bytes.
        names = list(_targets(model, "language", [], read))
        weights_cache.give_up({model.get_submodule(name) for name in names})
        quantization.quantise(model, names)
    if targets:
        _adapt(model, [name for names in targets.values() for name in names], config)
        if config.method is LoraMethod.pissa:
            for name in (name for names in targets.values() for name in names):
                _start_from_singular_values(model.get_submodule(name), config, device, restored)
    for name, parameter in model.named_parameters():
        mode = modes[tower_of(name, model.towers)]
        adapted = mode is Tower.lora and ADAPTER_MARK in name and not _is_start(name)
        parameter.requires_grad_((mode is Tower.full and name not in unused) or adapted)
        if parameter.requires_grad or mode is Tower.full:
            # An update of a thousandth is lost in bfloat16's eight bits; what is frozen stays in the type it was loaded
            # in, but what a tower that is trained whole computes in vain, from numbers of the type of the others.
            parameter.data = parameter.data.float()
    for module in model.modules():
        if isinstance(module, _BatchNorm) and module.weight is not None:
            # torch takes the statistics in the type of the weights alone.
            for name, buffer in module.named_buffers():
                if buffer.is_floating_point():
                    setattr(module, name, buffer.to(module.weight.dtype))
    return _counts(model, modes, {tower: len(names) for tower, names in targets.items()}, config)


def _unused(model: nn.Module, towers: set[str]) -> set[str]:
    """Names of the parameters, of these towers at least, that the loss does not depend on."""
    found = model.unused(towers)
    if HEAD in model.towers:
        # A head takes the states that the output embedding is given. What it shares with the input embedding is used.
        outputs = {id(module) for module in _output_embeddings(model)}
        elsewhere = {id(p) for m in model.modules() if id(m) not in outputs for p in m.parameters(recurse=False)}
        found = found | {name for name, parameter in model.named_parameters() if id(parameter) not in elsewhere}
    return found


def _output_embeddings(model: nn.Module) -> list[nn.Module]:
    found = (m.get_output_embeddings() for m in model.modules() if isinstance(m, PreTrainedModel))
    return [module for module in found if module is not None]


def _check_targets(
    model: nn.Module, targets: dict[str, list[str]], config: FinetuningConfig, passed_by: set[str]
) -> None:
    found = {name.rsplit(".", 1)[-1] for names in targets.values() for name in names}
    idle = {n.rsplit(".", 1)[-1] for n in passed_by if tower_of(n, model.towers) in targets} - found
    if targets and (named := [name for name in config.targets if name in idle]):
        raise ConfigError(
            f"finetuning.targets names {' and '.join(named)}, and LoRA would do nothing there: the model takes the"
            f" weight of these modules of {' or '.join(targets)} without calling them, or does not use them at all:"
            " leave the name out, or train the tower whole"
        )
    for tower, names in targets.items():
        if not names:
            linear = sorted({n.rsplit(".", 1)[-1] for n in _targets(model, tower, [], passed_by)})
            hint = near(config.targets[0], linear) if config.targets else "."
            raise ConfigError(
                f"finetuning.{tower}=lora, but no linear module of it is named"
                f" {' or '.join(config.targets) or 'anything'}"
                f"{hint} Its linear modules: {', '.join(linear) or 'none'}"
            )
    unknown = [name for name in config.targets if name not in found]
    if targets and unknown:
        linear = sorted({n.rsplit(".", 1)[-1] for t in targets for n in _targets(model, t, [], passed_by)})
        raise ConfigError(
            f"finetuning.targets names {' and '.join(unknown)}, and no linear module of {' or '.join(targets)} is named"
            f" so{near(unknown[0], linear)} Their linear modules: {', '.join(linear)}"
        )


def lora_config(config: FinetuningConfig, names: list[str]) -> LoraConfig:
    """What peft calls the method of `config`, for modules of these names. PiSSA is LoRA with another start."""
    return LoraConfig(
        r=config.rank,
        lora_alpha=config.alpha,
        lora_dropout=config.dropout,
        use_rslora=config.method is LoraMethod.rslora,
        use_dora=config.method is LoraMethod.dora,
        target_modules=names,
        bias="none",
    )


def _adapt(model: nn.Module, names: list[str], config: FinetuningConfig) -> None:
    lora = lora_config(config, names)
    inject_adapter_in_model(lora, model, adapter_name=TRAINED)
    found = {name for name, module in model.named_modules() if hasattr(module, "lora_A")}
    assert found == set(names), f"LoRA went into other modules than those named: {sorted(found ^ set(names))[:5]}"


@torch.no_grad()
def _start_from_singular_values(
    layer: BaseTunerLayer, config: FinetuningConfig, device: torch.device | None, restored: bool
) -> None:
    """B = U √(S / s) and A = √(S / s) Vᵀ of the `rank` greatest singular values of W, s being the scaling, in the
    trained adapter; and -B beside A in a frozen one. So W itself stays as it is, whatever its type, where the paper
    writes W - s B A over it: the sums are the same, and other jobs and the export have the weights they know. A
    checkpoint has both adapters, so that nothing has to be computed where one is `restored`."""
    lora = lora_config(config, [])
    layer.update_layer(START, lora.r, lora_alpha=lora.lora_alpha, config=lora)
    layer.lora_dropout[START] = nn.Identity()  # it stands for weights, which have none
    layer.set_adapter([TRAINED, START])
    pairs = [(layer.lora_A[adapter].weight, layer.lora_B[adapter].weight) for adapter in (TRAINED, START)]
    for a, b in pairs:
        a.zero_(), b.zero_()
    if restored:
        return
    weight = weight_of(layer.get_base_layer())
    u, s, v = _greatest_singular_values(weight.to(device or weight.device).float(), lora.r)
    root = (s / layer.scaling[TRAINED]).sqrt()
    # Matrices of fewer than `rank` rows or columns have fewer singular values: the others stay at zero.
    rank = len(root)
    for (a, b), sign in zip(pairs, (1.0, -1.0), strict=True):
        a[:rank] = (root[:, None] * v).to(a)
        b[:, :rank] = (sign * u * root).to(b)


EXACT_UP_TO = 256
"""Rows or columns up to which all singular values of a matrix are computed."""

OVERSAMPLED, ITERATIONS = 16, 8
"""Dimensions beyond the rank, and times that the matrix is multiplied, in which the greatest singular values are
looked for in a larger matrix: the method that peft calls pissa_niter_8."""


def _greatest_singular_values(weight: torch.Tensor, rank: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """U[rows, rank], S[rank] and Vᵀ[rank, columns], or of as many as the matrix has. Those of a large one are near the
    greatest (Halko et al. 2011, arXiv 0909.4061), which changes where PiSSA starts a little, and not what the model
    computes there. The random state is left as it was, and the same weight gives the same on the same device."""
    if min(weight.shape) <= max(EXACT_UP_TO, rank + OVERSAMPLED):
        u, s, v = torch.linalg.svd(weight, full_matrices=False)
    else:
        with torch.random.fork_rng(devices=[weight.device] if weight.is_cuda else []):
            # Not torch.manual_seed, which seeds all devices: what is not forked would stay so.
            generators = torch.cuda.default_generators if weight.is_cuda else [torch.default_generator]
            generators[weight.device.index or 0].manual_seed(0)
            u, s, columns = torch.svd_lowrank(weight, q=rank + OVERSAMPLED, niter=ITERATIONS)
        v = columns.T
    return u[:, :rank], s[:rank], v[:rank]


def weight_of(linear: nn.Module) -> torch.Tensor:
    """The weight matrix [outputs, inputs] a linear module computes with, also of one in 4 bits."""
    if getattr(linear.weight, "quant_state", None) is None:
        return linear.weight
    from affect.models import quantization

    return quantization.restored(linear).weight


def _is_start(name: str) -> bool:
    return f".{START}." in name


@torch.no_grad()
def merge(model: nn.Module) -> None:
    """Writes what adapters add into the weights they are added to, in place, so that ordinary linear modules are left:
    also where the weights were in 4 bits, whose values are then written out in the type they are computed in."""
    for name, module in list(model.named_modules()):
        if isinstance(module, BaseTunerLayer):
            base = module.get_base_layer()
            merged = _merged_weight(module)
            linear = nn.Linear(base.in_features, base.out_features, bias=base.bias is not None, device="meta")
            kept = base.weight.dtype if base.weight.is_floating_point() else base.compute_dtype
            linear.weight = nn.Parameter(merged.to(kept), requires_grad=False)
            linear.bias = base.bias
            model.set_submodule(name, linear.train(module.training))
    if getattr(model, "is_loaded_in_4bit", False):
        from affect.models import quantization

        for name, module in list(model.named_modules()):
            if quantization.is_quantised(module):
                model.set_submodule(name, quantization.restored(module))
        model.is_loaded_in_4bit = False


def _merged_weight(layer: BaseTunerLayer) -> torch.Tensor:
    weight = weight_of(layer.get_base_layer()).float()
    merged = weight + sum(layer.get_delta_weight(adapter).float() for adapter in layer.active_adapters)
    if TRAINED in layer.lora_magnitude_vector:
        # DoRA: the row's direction is that of the sum, its length is trained.
        length = layer.lora_magnitude_vector[TRAINED].weight.float()
        merged *= (length / merged.norm(dim=1))[:, None]
    return merged


def _targets(model: nn.Module, tower: str, last_names: list[str], without: set[str]) -> Iterator[str]:
    """Names of the linear modules of a tower, but those in `without` and the output embedding, whose rows are as many
    as the vocabulary."""
    outputs = _output_embeddings(model)
    for name, module in model.named_modules():
        if (
            isinstance(module, nn.Linear)
            and not any(module is output for output in outputs)
            and name not in without
            and tower_of(name, model.towers) == tower
            and (not last_names or name.rsplit(".", 1)[-1] in last_names)
        ):
            yield name


def _counts(
    model: nn.Module, modes: dict[str, Tower], lora_modules: dict[str, int], config: FinetuningConfig
) -> list[TowerCount]:
    counts = {tower: [0, 0] for tower in model.towers}
    for name, parameter in model.named_parameters():
        if not _is_start(name):  # a copy of what is trained, and no weight of the model
            count = counts[tower_of(name, model.towers)]
            # Two weights of 4 bits lie in one byte; the parameter remembers its shape.
            quantised = getattr(parameter, "quant_state", None)
            count[0] += parameter.numel() if quantised is None else quantised.shape.numel()
            count[1] += parameter.numel() if parameter.requires_grad else 0
    return [
        TowerCount(
            tower=tower,
            mode=(config.method.value if modes[tower] is Tower.lora else modes[tower].value)
            + (", 4 bits" if config.four_bit and tower == "language" else ""),
            parameters=parameters,
            trained=trained,
            lora_modules=lora_modules.get(tower, 0),
            learning_rate=learning_rate(tower, model, config) if trained else None,
        )
        for tower, (parameters, trained) in counts.items()
    ]


def without_gradient(model: nn.Module, loss: torch.Tensor) -> str | None:
    """A sentence about the parameters that are trained and that `loss`, of one batch, does not depend on."""
    trained = [(name, parameter) for name, parameter in model.named_parameters() if parameter.requires_grad]
    idle = sorted(reach.not_reached(trained, loss))
    if not idle:
        return None
    return (
        f"{len(idle)} of {len(trained)} parameter tensors that are trained, and counted as such, have no part in the"
        f" first batch, for example {idle[0]}: where no batch uses them they stay as they are"
    )


def trained_state(model: nn.Module) -> dict[str, torch.Tensor]:
    """The tensors a checkpoint has to hold: parameters with a gradient; the buffers of a tower that is trained whole,
    whose running statistics change too; and the start of PiSSA, since singular vectors come out with another sign
    elsewhere."""
    kept = {name: p.detach() for name, p in model.named_parameters() if p.requires_grad or _is_start(name)}
    whole = {tower_of(name, model.towers) for name in kept if ADAPTER_MARK not in name}
    if whole:  # else there is no need to go through everything, which takes longer than the rest of a checkpoint
        parameters = {name for name, _ in model.named_parameters(remove_duplicate=False)}
        buffers = {name: tensor for name, tensor in model.state_dict().items() if name not in parameters}
        kept |= {name: tensor for name, tensor in buffers.items() if tower_of(name, model.towers) in whole}
    return kept


def set_training_mode(model: nn.Module) -> None:
    """Training mode in the towers that are trained, evaluation mode in the others, whose dropout would be noise that
    nothing could learn to ignore. Batch normalisation beside adapters keeps the statistics it came with, as it keeps
    its weights: a checkpoint has those of towers alone that are trained whole."""
    names = [name for name, p in model.named_parameters() if p.requires_grad]
    trained = {tower_of(name, model.towers) for name in names}
    whole = {tower_of(name, model.towers) for name in names if ADAPTER_MARK not in name}
    for prefix in (prefix for prefixes in model.towers.values() for prefix in prefixes):
        # One by one, since a trained projector may lie within a frozen tower.
        for name, part in model.get_submodule(prefix).named_modules(prefix=prefix):
            part.training = tower_of(name, model.towers) in (whole if isinstance(part, _BatchNorm) else trained)


def load_trained_state(model: nn.Module, state: dict[str, torch.Tensor], source: str) -> None:
    """Puts a checkpoint's tensors into a model to which the same fine-tuning was applied.

    Raises ConfigError, naming `source`, when names or shapes are not exactly those the model trains.
    """
    own = trained_state(model)
    absent, foreign = sorted(set(own) - set(state)), sorted(set(state) - set(own))
    shapes = [name for name in set(own) & set(state) if own[name].shape != state[name].shape]
    if absent or foreign or shapes:
        example = (absent or foreign or shapes)[0]
        raise ConfigError(
            f"{source} does not fit this model and fine-tuning: {len(absent)} tensors lack, {len(foreign)} are unknown,"
            f" {len(shapes)} have another shape, for example {example}: use the model and"
            " the settings it was trained with"
        )
    with torch.no_grad():
        for name, tensor in state.items():
            own[name].copy_(tensor)


SAMPLED = 8
"""Values of each frozen tensor that tell one base from another."""


class BaseSample(TypedDict):
    """A few values of each parameter that came from a checkpoint."""

    names: list[str]
    values: torch.Tensor
    """float32[N, SAMPLED + 2]: some values, zeros behind those of a smaller parameter; the Euclidean norm of all; and
    the rounding error of its type (`torch.finfo(…).eps`, 0 of whole numbers). One tensor, since every checkpoint has
    it, and a small tensor takes as long to write as a large one."""


def base_sample(model: nn.Module) -> BaseSample:
    """Enough to know the base of an adapter again, in another precision too, where hashing gigabytes would take longer
    than the rest of an evaluation. To be taken before anything is put into the model."""
    sample = {}
    for name, parameter in model.named_parameters():
        tower = tower_of(name, model.towers)
        if tower != HEAD and tower not in model.new:
            flat = parameter.detach().flatten()
            some = flat[:: max(1, len(flat) // SAMPLED)][:SAMPLED].float()
            norm = _norm(flat)
            # What a checkpoint has in 4 or 8 bits is compared as it is.
            eps = torch.full_like(norm, torch.finfo(flat.dtype).eps if flat.is_floating_point() else 0.0)
            sample[name] = torch.cat([pad(some, (0, SAMPLED - len(some))), torch.stack([norm, eps])]).cpu()
    rows = [*sample.values()]
    return BaseSample(names=[*sample], values=torch.stack(rows) if rows else torch.zeros(0, SAMPLED + 2))


def _norm(flat: torch.Tensor) -> torch.Tensor:
    """float32, to a millionth. Added up in one go, that of an embedding is 1 % off, and by processor another 1 %."""
    if flat.itemsize == 1:  # of which torch takes no norm
        flat = flat.float()
    whole = len(flat) // 4096 * 4096
    rows = torch.linalg.vector_norm(flat[:whole].view(-1, 4096), dim=1, dtype=torch.float32)
    rest = torch.linalg.vector_norm(flat[whole:], dtype=torch.float32)
    return torch.linalg.vector_norm(torch.cat([rows, rest[None]]).double()).float()


def check_base(model: nn.Module, trained_on: BaseSample | None, source: str) -> None:
    """Raises ConfigError, naming `source`, where `model`, to which `apply` was applied, was loaded from another base
    than the one that the sample `trained_on` is of. A tower that only one of the two was loaded with tells nothing."""
    if trained_on is None:
        raise ConfigError(
            f"{source} was written by an earlier version of affect, which did not note the model it was trained on:"
            " train again, or evaluate it with that version"
        )
    then, now = (
        # As it was written first, it has a tensor for each parameter.
        dict(zip(base["names"], base["values"], strict=True)) if "names" in base else base
        for base in (trained_on, model.base_sample)
    )
    both = [name for name in then if name in now]
    other = [name for name in both if not _alike(then[name], now[name])]
    if other:
        raise ConfigError(
            f"{source} was trained on another base: {len(other)} of {len(both)} tensors of this model have other values"
            f" than then, for example {other[0]}: name the checkpoint it was trained on, in the revision of then"
        )


def _alike(then: torch.Tensor, now: torch.Tensor) -> bool:
    if len(then) == SAMPLED + 2 and then[-1] == now[-1]:
        same = torch.allclose(then[:SAMPLED], now[:SAMPLED], rtol=1e-5, atol=0, equal_nan=True)
        return same and torch.allclose(then[SAMPLED], now[SAMPLED], rtol=1e-5, equal_nan=True)
    # Of another type: bfloat16 has eight bits, and its rounding moves a value by up to 0.4 %. Or of a checkpoint that
    # an earlier version wrote, with no more than the values, and fewer than SAMPLED of the smallest parameters.
    some = min(len(then), SAMPLED)
    return torch.allclose(then[:some], now[:some], rtol=0.01, atol=1e-6)


def learning_rate(tower: str, model: nn.Module, config: FinetuningConfig) -> float:
    """A tower's own, or that of what is new or of what is pretrained."""
    if tower != HEAD and (own := getattr(config, f"{tower}_learning_rate")) is not None:
        return own
    return config.new_learning_rate if tower == HEAD or tower in model.new else config.learning_rate
