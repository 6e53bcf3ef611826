"""TF-IDF of the transcript with a linear model."""

import json
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from affect.baselines.fitted import FittedLearner
from affect.baselines.linear import fit_linear
from affect.baselines.targets import targets
from affect.config import DataError, Task, TfidfConfig
from affect.models.heads import in_task_order
from affect.prompting.messages import Example


class Tfidf(FittedLearner):
    """See TfidfConfig. Terms are weighted as scikit-learn's TfidfVectorizer does: (1 + log tf) · (1 + log((1 + n) /
    (1 + df))), rows of length 1."""

    def __init__(self, config: TfidfConfig) -> None:
        super().__init__(("text",))
        self.config = config

    def _vectoriser(self, **known: Any) -> Any:
        from sklearn.feature_extraction.text import TfidfVectorizer

        config = self.config
        return TfidfVectorizer(
            analyzer=config.analyser, ngram_range=(1, config.ngrams), sublinear_tf=True, dtype=np.float64, **known
        )

    def fit_task(
        self, task: Task, examples: Sequence[Example], inputs: Any, weights: torch.Tensor
    ) -> dict[str, torch.Tensor]:
        vectoriser = self._vectoriser(max_features=self.config.max_terms)
        try:
            x = vectoriser.fit_transform([example.record.text for example in examples])
        except ValueError as error:
            raise DataError(
                f"model=tfidf finds no word in the transcripts of the {len(examples):,} training examples of task"
                f" '{task.name}', the first of which is {examples[0].record.id}: choose a dataset with transcripts, or"
                " model.analyser=char_wb"
            ) from error
        vocabulary = {term: int(place) for term, place in vectoriser.vocabulary_.items()}
        return {
            "vocabulary": torch.tensor(list(json.dumps(vocabulary).encode()), dtype=torch.uint8),
            "idf": torch.from_numpy(vectoriser.idf_),
            **fit_linear(x, targets(examples, task), task, self.config.strength, weights, standardised=False),
        }

    def outputs(self, task: Task, examples: Sequence[Example], inputs: Any) -> torch.Tensor:
        vectoriser = self._vectoriser(vocabulary=json.loads(bytes(self.fitted(task, "vocabulary").tolist())))
        vectoriser.idf_ = self.fitted(task, "idf").numpy()
        x = vectoriser.transform([example.record.text for example in examples])
        weight, bias = self.fitted(task, "weight"), self.fitted(task, "bias")
        return in_task_order(torch.from_numpy(x @ weight.double().numpy().T).float() + bias, task)
