"""Whole evaluations with interventions: what the model is given, what is answered, and what the numbers say of it."""

import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from tiny_models import tiny_manifest, tiny_recogniser, tiny_words

import evaluate
import train
from affect.config import read_yaml
from affect.models import collate, recogniser
from affect.models.collate import Batch
from affect.prompting.messages import Example
from affect.runs import run_summary

WARM = ("trainer.clip_cache_gb=1", "trainer.encoder_cache=on", "trainer.prefetch=0")
COLD = ("trainer.clip_cache_gb=0", "trainer.encoder_cache=off", "trainer.prefetch=0")
Start = Callable[..., Path]


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("changed")
    tiny_manifest(root / "corpus", train=6)
    return root


@pytest.fixture(scope="module")
def start(root: Path) -> Iterator[Start]:
    """`start(main, *words)` runs train.main or evaluate.main in this process and gives the folder it made."""
    with pytest.MonkeyPatch.context() as patch:

        def started(main: Callable[[], None], *words: str) -> Path:
            before = set((root / "outputs").glob("*/"))
            table = root / "corpus" / "clips.csv"
            patch.setattr(sys, "argv", ["x.py", "dataset=manifest", f"datasets.manifest.root={table}", *words])
            patch.delenv("AFFECT_STAMP", raising=False)
            patch.chdir(root)
            main()
            [made] = set((root / "outputs").glob("*/")) - before
            return made

        yield started


def scores(folder: Path) -> torch.Tensor:
    rows = [json.loads(line) for line in (folder / "predictions.jsonl").read_text(encoding="utf-8").splitlines()]
    rows = sorted(rows, key=lambda row: row["id"])
    return torch.tensor([list(row["scores"].values()) for row in rows])


def test_a_language_model_is_given_the_changed_clip_and_the_same_prompt(
    root: Path, start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    given: dict[str, Example] = {}

    class Watched(collate.Collate):
        def __call__(self, asked: list[Example]) -> Batch:
            given.update({example.record.id: example for example in asked})
            return super().__call__(asked)

    monkeypatch.setattr("affect.evaluation.language.Collate", Watched)
    words = [*tiny_words(root, "qwen_omni"), "model.precision=float32"]

    def evaluated(*chosen: str) -> tuple[torch.Tensor, dict[str, Example], Path]:
        given.clear()
        folder = start(evaluate.main, *words, *chosen)
        return scores(folder), dict(given), folder

    plain, prompts, folder = evaluated("intervention=none", *WARM)
    metrics = run_summary.read(folder).metrics["tasks"]["manifest.label"]
    assert "intervention" not in metrics["signatures"]["exact"]["accuracy"]
    assert len(prompts) == 6
    seen = [plain]
    for name in ("swap_video", "noise_audio", "text_masked"):
        changed, changed_prompts, folder = evaluated(f"intervention={name}", *WARM)
        if name == "swap_video":  # no cache that another evaluation has filled gives what was not asked for
            cold, _, _ = evaluated(f"intervention={name}", *COLD)
            torch.testing.assert_close(changed, cold, rtol=0, atol=1e-4)
        assert all((changed - other).abs().max() > 1e-3 for other in seen)
        seen.append(changed)
        for key, example in changed_prompts.items():
            shown = prompts[key].shown
            differing = {slot for slot in shown if example.shown[slot] != shown[slot]}
            assert differing == ({"transcript"} if name == "text_masked" else set())
            assert list(example.shown) == list(shown) and (example.messages == prompts[key].messages) is not differing
        signature = run_summary.read(folder).metrics["tasks"]["manifest.label"]["signatures"]["exact"]["accuracy"]
        strength = {"noise_audio": "(snr=10,seed=0)", "swap_video": "(seed=0)", "text_masked": "(share=0.5,seed=0)"}
        assert f"|intervention:{name}{strength.get(name, '')}|" in signature
    again, _, _ = evaluated("intervention=none", *WARM)
    assert torch.equal(again, plain)


def test_features_are_of_the_changed_clip_and_an_old_run_can_be_changed(root: Path, start: Start) -> None:
    [language] = [word for word in tiny_words(root) if word.startswith("model.language=")]
    encoder = language.replace("model.language", "features.text")
    cache = f"cache_root={root / 'cache'}"
    trained = start(train.main, "model=vectors", "modalities=ta", encoder, cache, "trainer.progress=false")
    # As a run folder of before the group: a name alone.
    config = trained / "config.yaml"
    text = config.read_text(encoding="utf-8")
    group = text[text.index("intervention:\n") :].split("\nseed:")[0]
    config.write_text(text.replace(group, "intervention: none"), encoding="utf-8")
    assert read_yaml(config)["intervention"] == {"name": "none"}

    def evaluated(*words: str) -> torch.Tensor:
        return scores(start(evaluate.main, f"run={trained}", cache, "trainer.progress=false", *words))

    plain = evaluated()
    muted, masked = evaluated("intervention=mute"), evaluated("intervention=text_masked", "intervention.share=1")
    half = evaluated("intervention=drop_audio", "intervention.share=0.5")
    assert not torch.equal(plain, muted) and not torch.equal(plain, masked)
    rows = [torch.equal(row, plain[at]) for at, row in enumerate(half)]
    assert rows.count(True) == 3
    assert all(
        torch.equal(row, plain[at] if kept else muted[at])
        for (at, row), kept in zip(enumerate(half), rows, strict=True)
    )
    assert torch.equal(evaluated(), plain)


def test_recognised_transcripts_replace_those_of_the_dataset(
    root: Path, start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    tiny_recogniser(root / "whisper")
    said: list[str] = []

    class Hearing(recogniser.Recogniser):
        def transcribe(self, *args: object) -> list:
            answers = super().transcribe(*args)
            said.extend(answer.text for answer in answers)
            return answers

    monkeypatch.setattr(recogniser, "Recogniser", Hearing)
    words = [*tiny_words(root), "modalities=t", f"transcription.model={root / 'whisper'}"]
    plain = start(evaluate.main, *words)
    changed = start(evaluate.main, *words, "intervention=asr_text")
    assert len(said) == 6 and not torch.equal(scores(changed), scores(plain))
    metrics = run_summary.read(changed).metrics
    [generator] = metrics["transcribed"].values()
    signature = metrics["tasks"]["manifest.label"]["signatures"]["exact"]["accuracy"]
    assert f"|intervention:asr_text|transcripts:{generator}|" in signature
    assert "transcribed" not in run_summary.read(plain).metrics and not (plain / "transcripts.json").exists()
    [counts] = json.loads((changed / "transcripts.json").read_text(encoding="utf-8"))["parts"]
    assert (counts["split"], counts["clips"], counts["own"]) == ("test", 6, 0)
