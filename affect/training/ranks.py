"""Lightning's view of the processes of a run."""

from collections.abc import Mapping
from datetime import timedelta
from typing import Any

import torch
from lightning.fabric.plugins.environments import ClusterEnvironment
from lightning.pytorch.strategies import DDPStrategy, ModelParallelStrategy, ParallelStrategy
from torch import distributed
from torch.utils._pytree import tree_map

from affect.config import launch
from affect.training import sharding


class Ranks(ClusterEnvironment):
    """The place of this process, for Lightning. To it every process is a node with a single device, so that any number
    of processes can be on any machine, and each may see all of its machine's devices or its own alone."""

    creates_processes_externally = True
    main_address = "127.0.0.1"
    main_port = 0

    @staticmethod
    def detect() -> bool:
        return True

    def world_size(self) -> int:
        return launch.place().size

    def set_world_size(self, size: int) -> None:
        assert size == self.world_size()

    def global_rank(self) -> int:
        return launch.place().rank

    def set_global_rank(self, rank: int) -> None:
        assert rank == self.global_rank()

    def local_rank(self) -> int:
        return 0

    def node_rank(self) -> int:
        return launch.place().rank


class Joined(DDPStrategy):
    """Data-parallel training by the processes of `distributed.spread`."""

    def setup_distributed(self) -> None:
        _join(self.root_device, self._timeout)
        super().setup_distributed()  # which leaves a group alone that is there


class Sharded(ModelParallelStrategy):
    """Fully sharded training by the processes of `distributed.spread` (see sharding.py; the module's configure_model
    divides it). Its checkpoints are those of a single process."""

    def __init__(self) -> None:
        super().__init__(
            data_parallel_size=launch.place().size, tensor_parallel_size=1, save_distributed_checkpoint=False
        )

    @property
    def lightning_restore_optimizer(self) -> bool:
        return True

    def setup_environment(self) -> None:
        _join(self.root_device, self._timeout)
        super().setup_environment()

    def lightning_module_state_dict(self) -> dict[str, Any]:
        return self.lightning_module.state_dict()

    def optimizer_state(self, optimizer: torch.optim.Optimizer) -> dict[str, Any]:
        return tree_map(
            lambda value: sharding.whole(value) if isinstance(value, torch.Tensor) else value,
            ParallelStrategy.optimizer_state(self, optimizer),
        )

    def load_checkpoint(self, checkpoint_path: Any, weights_only: bool | None = None) -> dict[str, Any]:
        # The module loads its state itself, as under every strategy. Mapped, the file is once in the machine's memory,
        # of which each process reads what it keeps.
        return torch.load(checkpoint_path, map_location="cpu", weights_only=True, mmap=True)

    def load_optimizer_state_dict(self, checkpoint: Mapping[str, Any]) -> None:
        for optimizer, saved in zip(self.optimizers, checkpoint["optimizer_states"], strict=True):
            numbers = [number for group in saved["param_groups"] for number in group["params"]]
            parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
            state = {
                number: {
                    key: sharding.divided_like(parameter, value) if value.shape == parameter.shape else value.clone()
                    for key, value in saved["state"][number].items()
                }
                for number, parameter in zip(numbers, parameters, strict=True)
                if number in saved["state"]
            }
            optimizer.load_state_dict({**saved, "state": state})


def _join(device: torch.device, timeout: timedelta | None) -> None:
    """Makes this process one of the run's group."""
    if distributed.is_initialized():
        return
    place = launch.place()
    host, port = place.store.rsplit(":", 1)
    store = distributed.TCPStore(host, int(port), place.size, is_master=False, wait_for_workers=False)
    distributed.init_process_group(
        "nccl" if device.type == "cuda" else "gloo",
        store=distributed.PrefixStore("group", store),
        rank=place.rank,
        world_size=place.size,
        timeout=timeout,
        device_id=device if device.type == "cuda" else None,
    )
