"""Training with DeepSpeed's ZeRO, stage 2: every process has the whole model, and keeps the optimiser states and the
summed gradients of a part of it.

DeepSpeed is given the trained parameters and their optimiser, and not the model: what is frozen may then be of any
type, forward passes are those of all other strategies, and checkpoints are whole. Lightning's own DeepSpeedStrategy
wraps the model, converts it, writes checkpoints of its own kind, and refuses to run without CUDA.
"""

import os
from collections.abc import Callable, Mapping
from typing import Any

import torch
from lightning.pytorch import Trainer
from lightning.pytorch.trainer.states import TrainerFn
from torch import distributed, nn

from affect.training.ranks import Joined


class Zero(Joined):
    """`max_norm` is the norm to which gradients are clipped. Lightning's way would clip the part of a process."""

    def __init__(self, max_norm: float) -> None:
        super().__init__()
        self.max_norm = max_norm
        self.engine: Any = None

    def configure_ddp(self) -> None:
        """Nothing: DeepSpeed reduces the gradients."""

    def setup_optimizers(self, trainer: Trainer) -> None:
        super().setup_optimizers(trainer)
        # By itself DeepSpeed would take a GPU that trainer.accelerator=cpu leaves alone.
        os.environ["DS_ACCELERATOR"] = self.root_device.type
        os.environ.setdefault("LOCAL_RANK", str(self.root_device.index or 0))  # without which it refuses to start
        import deepspeed  # an extra

        [optimizer] = self.optimizers
        trained = [parameter for group in optimizer.param_groups for parameter in group["params"]]
        deepspeed.logger.setLevel("WARNING")
        self.engine, *_ = deepspeed.initialize(
            model=nn.ParameterList(trained),
            optimizer=optimizer,
            dist_init_required=False,
            config={
                "train_micro_batch_size_per_gpu": 1,  # for a log of its own
                "gradient_accumulation_steps": trainer.accumulate_grad_batches,
                "gradient_clipping": self.max_norm,
                "zero_optimization": {"stage": 2},
                "zero_allow_untested_optimizer": True,  # torch's AdamW, as under all strategies
            },
        )

    def backward(self, closure_loss: torch.Tensor, *_: Any, **__: Any) -> torch.Tensor:
        # Not DeepSpeed's own count, since the last step of an epoch may have fewer batches than the others.
        accumulates = self.lightning_module.trainer.fit_loop._should_accumulate()
        self.engine.set_gradient_accumulation_boundary(not accumulates)
        self.engine.backward(closure_loss, scale_wrt_gas=False)  # Lightning has divided it
        if accumulates:
            self.engine.step()  # which notes that a batch is done; the optimiser's step is below
        return closure_loss

    def optimizer_step(self, optimizer: Any, closure: Callable[[], Any], *_: Any, **__: Any) -> Any:
        loss = closure()
        self.engine.step()
        return loss

    def optimizer_state(self, optimizer: torch.optim.Optimizer) -> dict[str, Any]:
        """The states of all processes, in order of rank, in the first one, which writes the checkpoint. The weights
        that the optimiser steps are in float32 those of the model, and are not kept twice."""
        states: list[Any] = [None] * self.world_size
        distributed.gather_object(optimizer.state_dict(), states if self.is_global_zero else None)
        return {"processes": states}

    def load_optimizer_state_dict(self, checkpoint: Mapping[str, Any]) -> None:
        [saved], [optimizer] = checkpoint["optimizer_states"], self.optimizers
        optimizer.load_state_dict(saved["processes"][self.global_rank])

    def teardown(self) -> None:
        if self.engine is not None and self.lightning_module.trainer.state.fn is TrainerFn.FITTING:
            self.engine.destroy()
            self.engine = None
        super().teardown()
