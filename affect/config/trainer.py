"""Schema of the group `trainer`: epochs, batches, devices, caches."""

from dataclasses import dataclass
from enum import Enum

from omegaconf import MISSING

from affect.config.fields import field


class Accelerator(str, Enum):
    auto = "auto"
    cpu = "cpu"
    cuda = "cuda"


class Strategy(str, Enum):
    ddp = "ddp"
    fsdp = "fsdp"
    deepspeed = "deepspeed"


class Switch(str, Enum):
    auto = "auto"
    on = "on"
    off = "off"


class EncoderCache(str, Enum):
    auto = "auto"
    on = "on"
    off = "off"


@dataclass(slots=True, kw_only=True)
class TrainerConfig:
    name: str = field(MISSING, role="name", phase="training")
    """The choice of the group, for names of runs and for tables."""
    accelerator: Accelerator = Accelerator.auto
    """Device: cpu or cuda; auto is CUDA if there is a device."""
    max_epochs: int = field(3, phase="training", methods=("language", "network"), least=1)
    """Number of training epochs."""
    max_batches: int | None = field(None, least=1)
    """Maximum number of batches of an epoch and of an evaluation; null is all. For trying things out: the rest is not
    scored."""
    batch_size: int = field(8, phase="training", methods=("language", "network"), least=1)
    """Clips per batch and process."""
    accumulate: int = field(1, phase="training", methods=("language", "network"), least=1)
    """Batches whose gradients are accumulated for one optimiser step."""
    max_grad_norm: float = field(1.0, phase="training", methods=("language", "network"), above=0)
    """Norm to which gradients are clipped before an optimiser step."""
    devices: int = field(1, least=1)
    """Processes that share the work, on all machines, each with its own CUDA device, or its own cores without CUDA. An
    optimiser step then sees batch_size × accumulate × devices clips. Where srun or torchrun starts the processes, it is
    their number."""
    strategy: Strategy = field(Strategy.ddp, role="rounding")
    """How several processes train together. ddp: each has the whole model. fsdp: each keeps a part of the weights,
    gradients and optimiser states, and layers are gathered while they compute; an evaluation gathers the whole model in
    each. deepspeed: each has the whole model, and a part of the gradients and optimiser states (ZeRO, stage 2)."""
    try_longest_batch: Switch = field(Switch.auto, role="runtime")
    """Run the longest clips forward and backward as one batch before training, so that running out of memory shows at
    once. auto: on a GPU."""
    num_workers: str = field("auto", role="runtime")
    """Processes that decode and encode clips for each training process, a number or auto; 0 does it in the training
    process. auto is 0 without a GPU, otherwise up to 4, limited by the cores."""
    prefetch: int = field(1, role="runtime", least=0)
    """Batches that a thread prepares ahead of the model; 0 is none. With num_workers the workers do that."""
    check_workers: int = field(2, role="runtime", least=1)
    """Threads that decode every clip once at the start to find unusable ones."""
    clip_cache_gb: float = field(10.0, role="runtime", least=0)
    """Size limit in GB of the cache of decoded clips under cache_root, which all runs share; 0 is no cache. The least
    recently used clips are evicted."""
    encoder_cache: EncoderCache = field(EncoderCache.auto, role="rounding")
    """Cache the outputs of frozen encoders under cache_root, for all epochs and runs. auto does so where possible: not
    with max_batches, and not beyond encoder_cache_gb or the free disk space. on refuses the run where it is not."""
    encoder_cache_gb: float = field(50.0, role="runtime", least=0)
    """Size limit in GB of that cache, which all runs share. The least recently used outputs are evicted."""
    log_every: int = field(5, role="logging", least=1)
    """Optimiser steps between two logged rows."""
    save_every_steps: int | None = field(None, role="runtime", least=1)
    """Optimiser steps between two checkpoints for resume=…; null is by time alone. The end of an epoch is always
    saved."""
    save_every_minutes: float | None = field(10.0, role="runtime", above=0)
    """Minutes between two checkpoints for resume=…; null is by steps alone."""
    compile: bool = field(False, phase="training", methods=("language",))
    """Train with torch.compile on the language model's layers: a minute or more at the start, then faster steps. Worth
    it for long training on a GPU; on a CPU it needs a C++ compiler."""
    progress: bool = field(True, role="runtime")
    """Show progress bars."""
