"""How much `readout.score` saves: prompts run once with all labels behind them, against one full forward pass a
label that computes logits only at the label's own tokens; and against generating four tokens.

    python benchmarks/score_prefix.py

SmolLM2-135M on CPU, MELD's seven emotions, text prompts with three turns of context as in experiment=meld_text. The
three alternate, so that what else the machine does falls on all. Tokenising is outside of their times.
"""

import argparse
import sys
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

import torch
from everyday_talk import LINES
from hydra import compose, initialize_config_dir

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from affect import models
from affect.cli import program
from affect.cli.validate import conflicts
from affect.config import compose as entry
from affect.config import register
from affect.data import Record
from affect.evaluation import predict
from affect.models import Conversation
from affect.models.generation import greedy
from affect.prompting import token_budget


def records(count: int) -> list[Record]:
    return [
        Record(
            id=f"meld/test/0/{i}",
            dataset="meld",
            split="test",
            text=LINES[i % len(LINES)],
            context=tuple(f"Monica: {LINES[(i + k) % len(LINES)]}" for k in (1, 2, 3)),
            group="test/0",
        )
        for i in range(count)
    ]


GENERATED = 4
"""Tokens, in every row: none ends a row early."""


def seconds(function: Callable[[], Any]) -> tuple[float, Any]:
    begin = time.perf_counter()
    result = function()
    return time.perf_counter() - begin, result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repetitions", type=int, default=7)
    parser.add_argument("--batch-size", type=int, default=8)
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    register()
    with initialize_config_dir(str(program.CONF), version_base="1.3"):
        cfg = entry.load(compose("config", overrides=["experiment=meld_text"]), "train", conflicts)
    model, encoder = models.load(cfg.model, modalities="t", cache_root=Path(cfg.cache_root).expanduser())
    model.eval()
    task = cfg.datasets["meld"].task_definitions["emotion"]
    texts = [task.answer(label, "en") for label in task.labels]
    candidates = [encoder.answer_ids(text) for text in texts]
    made = [
        token_budget.example(record, task, cfg.prompting, "t", encoder.count_text)
        for record in records(options.batch_size)
    ]
    batch = encoder.encode([Conversation(messages=e.messages) for e in made])
    full = [encoder.encode([Conversation(messages=e.messages, answer=text) for e in made]) for text in texts]

    @torch.no_grad()
    def one_by_one() -> torch.Tensor:
        columns = []
        for ids, answered in zip(candidates, full, strict=True):
            logits = model(answered, keep=len(ids) + 1)[:, :-1].float().log_softmax(-1)
            columns.append(logits.gather(2, torch.tensor(ids).expand(len(made), -1)[..., None]).sum((1, 2)))
        return torch.stack(columns, 1)

    def shared() -> torch.Tensor:
        return predict.score(model, batch, candidates)

    def generated() -> list[list[int]]:
        return greedy(model, batch, GENERATED, frozenset())

    shared(), one_by_one(), generated()  # what is done once (thread pools, caches) is in none of the times
    ratios, generating, times, difference = [], [], [], 0.0
    for _ in range(options.repetitions):
        (slow, expected), (fast, found), (written, answers) = map(seconds, (one_by_one, shared, generated))
        assert all(len(answer) == GENERATED for answer in answers)
        ratios.append(slow / fast)
        generating.append(written / fast)
        times.append((slow, fast, written))
        difference = max(difference, float((found - expected).abs().max()))
    lengths = batch["attention_mask"].sum(1).tolist()
    print(
        f"{len(made)} prompts of {min(lengths)} to {max(lengths)} tokens, labels of {[len(ids) for ids in candidates]}"
    )
    print(
        f"one forward pass a label {median(t[0] for t in times):.2f} s,"
        f" scoring {median(t[1] for t in times):.2f} s,"
        f" generating {GENERATED} tokens {median(t[2] for t in times):.2f} s"
    )
    print(
        f"ratio: median {median(ratios):.2f}, from {min(ratios):.2f} to {max(ratios):.2f} in {len(ratios)} repetitions"
    )
    print(f"generating / scoring: median {median(generating):.2f}, from {min(generating):.2f} to {max(generating):.2f}")
    print(f"largest difference of a score: {difference:.1e} nats")


if __name__ == "__main__":
    main()
