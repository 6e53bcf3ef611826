"""The learner that asks a language model: prompts in, answers out."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import torch

from affect.baselines.linear import fit_linear
from affect.baselines.targets import by_layer, of_examples, targets
from affect.config import EvaluationConfig, FinetuningConfig, HeadFit, Target
from affect.data import Prediction
from affect.data.class_balance import ByClass
from affect.data.clips import ClipSource
from affect.data.media import Sampling
from affect.evaluation import predict
from affect.evaluation.content_free import ContentFree
from affect.models import Encoder, Model, adapters, heads, trained_tensors
from affect.models import checkpoint as checkpoints
from affect.models.base_sample import BaseSample
from affect.models.collate import Batch, Collate
from affect.models.learner import Learner
from affect.models.losses import answer_loss
from affect.models.parameter_groups import parameter_groups
from affect.prompting.messages import Example
from affect.prompting.token_budget import prompt_length

if TYPE_CHECKING:
    from affect.models.encoder_cache import Outputs


class LanguageLearner(Learner):
    """A language model that is trained on answers, or with heads, and evaluated by one of the readouts.

    wanted: what is taken of clips. source: where clips come from; without it they are decoded each time. log_priors: by
    task and label, what scores are adjusted by (nats).
    """

    def __init__(
        self,
        model: Model,
        encoder: Encoder,
        finetuning: FinetuningConfig,
        evaluation: EvaluationConfig,
        wanted: Sampling,
        source: ClipSource | None = None,
        log_priors: Mapping[str, Mapping[str, float]] | None = None,
    ) -> None:
        self.module, self.encoder = model, encoder
        self.finetuning, self.evaluation = finetuning, evaluation
        self.wanted, self.source, self.log_priors = wanted, source, log_priors
        self.outputs: Outputs | None = None
        """What frozen encoders made of the clips, in the place of the clips."""
        self.content_free = ContentFree(wanted)
        self._target_sizes: dict[str, int] = {}

    @property
    def by_gradients(self) -> bool:
        return not self.has_heads or self.finetuning.head_fit is HeadFit.gradients

    @property
    def has_heads(self) -> bool:
        return self.finetuning.target is Target.head

    def collator(self, with_targets: bool) -> Callable[[list[Example]], Batch]:
        # A head reads the end of the prompt, which no answer may follow.
        with_answers = with_targets and not self.has_heads
        return Collate(self.encoder, self.wanted, with_answers, self.source, self.outputs)

    def length(self, example: Example) -> float:
        seconds = self.source.seconds[example.record.id] if self.wanted.audio and self.source is not None else 0.0
        return prompt_length(example, seconds * self.encoder.audio_tokens_per_second)

    def target_size(self, example: Example) -> int:
        if self.has_heads:
            return 1
        if example.target not in self._target_sizes:
            self._target_sizes[example.target] = len(self.encoder.answer_ids(example.target))
        return self._target_sizes[example.target]

    def set_training_mode(self) -> None:
        adapters.set_training_mode(self.module)

    def parameter_groups(self) -> list[dict[str, Any]]:
        return parameter_groups(self.module, self.finetuning)

    def rates(self) -> dict[str, float]:
        keys = ("learning_rate", "new_learning_rate")
        return {f"finetuning.{key}": getattr(self.finetuning, key) for key in keys}

    def loss(self, batch: Batch, weights: Sequence[float] | None = None, over: float | None = None) -> torch.Tensor:
        if self.has_heads:
            return heads.loss(self.module, batch.tensors, batch.examples, weights, over)
        return answer_loss(self.module, batch.tensors, weights, over)

    def fit(self, batches: Iterable[Batch], weights: ByClass) -> None:
        """Fits the heads to the states of the frozen model (finetuning.head_fit=linear)."""
        examples, states = [], []
        for batch in batches:
            if batch.tensors is not None:
                with torch.no_grad():
                    states.append(heads.last_states(self.module, batch.tensors).cpu())
                examples += batch.examples
        x = torch.cat(states).double().numpy()
        for layer, (task, places) in by_layer(examples).items():
            chosen = [examples[place] for place in places]
            fitted = fit_linear(
                x[places],
                targets(chosen, task),
                task,
                self.finetuning.head_strength,
                of_examples(chosen, weights),
                standardised=True,
            )
            with torch.no_grad():
                for part, tensor in fitted.items():
                    self.module.heads.layers[layer].get_parameter(part).copy_(tensor)

    def unused_parameters(self, loss: torch.Tensor) -> str | None:
        return adapters.without_gradient(self.module, loss)

    def trained_state(self) -> dict[str, torch.Tensor]:
        return trained_tensors.trained_state(self.module)

    def base(self) -> BaseSample:
        return self.module.base_sample

    def load(self, checkpoint: Mapping[str, Any], source: str) -> None:
        checkpoints.load(self.module, checkpoint, source)

    def begin_evaluation(self) -> None:
        self.content_free = ContentFree(self.wanted)

    def predict(self, batch: Batch) -> list[Prediction]:
        settings = (self.evaluation, self.log_priors, self.content_free)
        return predict.predict(self.module, self.encoder, batch.tensors, batch.examples, *settings)

    def findings(self) -> Any:
        return self.content_free.known, self.content_free.labels

    def merge_findings(self, findings: list[Any]) -> None:
        for known, labels in findings:
            self.content_free.known |= known
            self.content_free.labels |= labels

    def files(self) -> dict[str, Any]:
        return {"content_free.json": self.content_free.table()} if self.content_free.known else {}
