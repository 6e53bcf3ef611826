"""Schema of the group `trainer`: epochs, batches, devices, caches."""

from dataclasses import dataclass
from enum import Enum

from omegaconf import MISSING

from affect.config.fields import field


class Accelerator(str, Enum):
    auto = "auto"
    cpu = "cpu"
    cuda = "cuda"


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
    """The device: cpu or cuda; auto is CUDA where there is a device."""
    max_epochs: int = field(3, phase="training", least=1)
    """Epochs of training."""
    max_batches: int | None = field(None, least=1)
    """Batches an epoch, and batches of an evaluation, at the most; null is all. For trying things out: what is left out
    is not scored."""
    batch_size: int = field(8, phase="training", least=1)
    """Clips of a batch of each process."""
    accumulate: int = field(1, phase="training", least=1)
    """Batches whose gradients are added up for one optimiser step."""
    max_grad_norm: float = field(1.0, phase="training", above=0)
    """Norm to which gradients are clipped before an optimiser step."""
    devices: int = field(1, least=1)
    """Processes that share the work, on all machines, each with its own CUDA device, or its own cores without CUDA. An
    optimiser step then sees batch_size × accumulate × devices clips. Where srun or torchrun starts the processes, it is
    their number."""
    try_longest_batch: Switch = field(Switch.auto, role="runtime")
    """Whether the longest clips are put into one batch, forward and backward, before anything else, so that too large a
    batch is met at once. Changes no number. auto is on a GPU."""
    num_workers: str = field("auto", role="runtime")
    """A number or auto. Processes that decode and encode clips beside each training one; 0 does it in the training
    process. auto is 0 without a GPU, and otherwise up to 4, as far as there are cores."""
    prefetch: int = field(1, role="runtime", least=0)
    """Batches that a thread has ready ahead of the model; 0 makes each when it is asked for. With num_workers the
    workers do that."""
    check_workers: int = field(2, role="runtime", least=1)
    """Threads that decode every clip once at the start to find those that cannot be used."""
    clip_cache_gb: float = field(10.0, role="runtime", least=0)
    """Gigabytes of decoded clips that are kept under cache_root, for all runs together; 0 decodes each clip each time.
    What was last used longest ago goes first."""
    encoder_cache: EncoderCache = field(EncoderCache.auto, role="rounding")
    """What pretrained encoders that are not trained make of a clip is computed once and kept under cache_root, for all
    epochs and runs. auto does so where it can: not with max_batches, and not beyond encoder_cache_gb or what the disk
    has left. on refuses the run where it cannot."""
    encoder_cache_gb: float = field(50.0, role="runtime", least=0)
    """Gigabytes of that, for all runs together. What was last used longest ago goes first."""
    log_every: int = field(5, role="logging", least=1)
    """Optimiser steps between two rows of the log."""
    save_every_steps: int | None = field(None, role="runtime", least=1)
    """Optimiser steps between two savings of what resume=… continues from; null is by time alone. The end of an epoch
    is always saved."""
    save_every_minutes: float | None = field(10.0, role="runtime", above=0)
    """Minutes between two savings; null is by steps alone."""
    compile: bool = field(False, phase="training")
    """Train through torch.compile of the language model's layers: a minute or more at the start, faster steps after.
    Worth it for long trainings on a GPU; on a CPU it needs a C++ compiler."""
    progress: bool = field(True, role="runtime")
    """Progress bars."""
