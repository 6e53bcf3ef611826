"""What training and evaluation know of a method, be it a language model, a network on features, or a vote."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    import torch
    from torch import nn

    from affect.data import Prediction
    from affect.data.class_balance import ByClass
    from affect.models.collate import Batch
    from affect.prompting.messages import Example


class Learner(Protocol):
    """A method that predicts the labels of clips.

    One that is trained by gradients (`by_gradients`) has a loss; one that is not is fitted on all training batches at
    once. Everything else is the same for both, so that one program trains them, one table holds them, and one
    significance test compares them. Methods with a body here are what most learners want.
    """

    module: "nn.Module"
    """Holds the method's tensors. The trainer moves it to a device; parameters with `requires_grad` are trained."""
    by_gradients: bool = True

    # Batches

    def collator(self, with_targets: bool) -> "Callable[[list[Example]], Batch]":
        """Makes a batch of examples. It goes to worker processes, so it has to be picklable and should hold no
        weights. with_targets: whether the batch is for `loss` or `fit`."""

    def length(self, example: "Example") -> float:
        """What an example costs compared with others: examples of like length go into one batch."""
        return 1.0

    def target_size(self, example: "Example") -> int:
        """Number of terms that the example has in the loss (answer tokens of a language model)."""
        return 1

    # Training

    def set_training_mode(self) -> None:
        """Called once before the first step."""
        self.module.train()

    def begin_epoch(self, epoch: int) -> None:
        """Called at the start of each training epoch, counted from 1; not where a run is taken up in the middle of
        one."""

    def parameter_groups(self) -> list[dict[str, Any]]:
        """Parameter groups for AdamW, each with `params`, `lr` and `weight_decay`."""

    def rates(self) -> dict[str, float]:
        """The learning rates by their key in the configuration, for messages."""
        return {}

    def loss(self, batch: "Batch", weights: Sequence[float] | None = None, over: float | None = None) -> "torch.Tensor":
        """Mean loss of a batch; with `weights`, every example's terms times its weight. `over` is what the sum is
        divided by in place of the number of terms, where a step has several batches."""

    def fit(self, batches: "Iterable[Batch]", weights: "ByClass") -> None:
        """Fits a method that is not trained by gradients on all training batches, which are on the device of `module`.
        weights: by task and label, the weight of a training example; 1 for others."""

    def unused_parameters(self, loss: "torch.Tensor") -> str | None:
        """A sentence about trained parameters that the loss of the first batch does not depend on."""
        return None

    # Checkpoints

    def trained_state(self) -> "dict[str, torch.Tensor]":
        """The tensors that training changes, by name: what a checkpoint holds."""
        return self.module.state_dict()

    def base(self) -> Any:
        """What tells the state before training from another one's; written into every checkpoint."""
        return None

    def load(self, checkpoint: Mapping[str, Any], source: str) -> None:
        """Puts the `state_dict` of a checkpoint into the module. Raises ConfigError, naming `source`, where the
        checkpoint belongs to another method or to another `base`."""

    # Evaluation

    def begin_evaluation(self) -> None:
        """Called before each pass over a split; the module may have been trained since the last one."""

    def predict(self, batch: "Batch") -> "list[Prediction]":
        """The predictions of a batch, whose examples are all of one task and language, in their order."""

    def findings(self) -> Any:
        """What an evaluation found out beside predictions, in this process. It has to be picklable."""
        return None

    def merge_findings(self, findings: list[Any]) -> None:
        """Adds the findings of all processes to this one's."""

    def files(self) -> dict[str, Any]:
        """What is written beside the predictions, as JSON, by file name."""
        return {}
