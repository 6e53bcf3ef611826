"""Lightning's view of the processes of a run."""

from lightning.fabric.plugins.environments import ClusterEnvironment
from lightning.pytorch.strategies import DDPStrategy
from torch import distributed

from affect.config import launch


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
        if not distributed.is_initialized():
            place, device = launch.place(), self.root_device
            host, port = place.store.rsplit(":", 1)
            store = distributed.TCPStore(host, int(port), place.size, is_master=False, wait_for_workers=False)
            distributed.init_process_group(
                "nccl" if device.type == "cuda" else "gloo",
                store=distributed.PrefixStore("group", store),
                rank=place.rank,
                world_size=place.size,
                timeout=self._timeout,
                device_id=device if device.type == "cuda" else None,
            )
        super().setup_distributed()  # which leaves a group alone that is there
