"""Exports of both families: what plain transformers and peft make of them says what affect's model said."""

import json
import re
import resource
import sys
from collections.abc import Callable
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from safetensors.torch import load_file
from tiny_models import tiny_composed_language, tiny_qwen_omni, tiny_whisper

from affect import models
from affect.cli.export import main
from affect.config import Config, ConfigError, Target, chosen_tasks
from affect.data import Prediction, Record, clip_rows
from affect.data.part import Part
from affect.evaluation.metrics.summary import summarise
from affect.models import Conversation, adapters, heads, trained_tensors
from affect.runs import lifecycle, run_folder, run_results
from affect.training.export import load, weights

METHODS = ("lora", "rslora", "dora", "pissa", "qlora")


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("export")
    tiny_composed_language(folder / "composed")
    tiny_qwen_omni(folder / "thinker")
    tiny_qwen_omni(folder / "whole", full=True)
    tiny_whisper(folder / "whisper")
    return folder


class Trained:
    """A run folder of a training that has ended, and the model that it would evaluate."""

    def __init__(self, cfg: Config, folder: Path) -> None:
        self.folder, self.cfg = folder, cfg
        torch.manual_seed(0)
        self.model, self.encoder = models.load(cfg.model, modalities=cfg.modalities, cache_root=Path(cfg.cache_root))
        if cfg.finetuning.target is Target.head:
            heads.attach(self.model, chosen_tasks(cfg))
        adapters.apply(self.model, cfg.finetuning)
        with torch.no_grad():
            for parameter in self.model.parameters():
                if parameter.requires_grad:
                    parameter += 0.05 * torch.randn_like(parameter)
        run_folder.create(cfg, "train", str(folder))
        predictions = [
            Prediction(
                id=f"demo/test/{i}",
                dataset="demo",
                split="test",
                task="emotion",
                group="g",
                target="joy",
                answer=None,
                exact=value,
                lenient=value,
                outcome="valid",
                readout="score",
            )
            for i, value in enumerate(("joy", "joy", "anger"))
        ]
        with lifecycle.running(folder):
            records = [Record(id=p.id, dataset="demo", split="test", text="x", group="g") for p in predictions]
            parts = [Part(dataset="demo", split="test", expected=4, outside_subset=1, records=records)]
            found = summarise(predictions, cfg.datasets, cfg.evaluation, {"demo": 4})
            run_results.write_results(folder, cfg, parts, predictions, found, {})
        checkpoint = {"state_dict": trained_tensors.trained_state(self.model), "base": self.model.base_sample}
        (folder / "checkpoints").mkdir()
        torch.save(checkpoint, folder / "checkpoints" / "best.ckpt")

    def batch(self) -> dict[str, Any]:
        letters = self.cfg.modalities
        parts = [{"type": "video"}] * ("v" in letters) + [{"type": "audio"}] * ("a" in letters)
        made = []
        for i, text in enumerate(("Which emotion does she show?", "And now, if you listen again?")):
            random = np.random.default_rng(i)
            made.append(
                Conversation(
                    messages=[{"role": "user", "content": [*parts, {"type": "text", "text": text}]}],
                    waveform=random.standard_normal(9_000).astype(np.float32) / 10 if "a" in letters else None,
                    frames=random.integers(0, 256, (2, 56, 56, 3), dtype=np.uint8) if "v" in letters else None,
                    seconds=1.0,
                )
            )
        return self.encoder.encode(made)

    @torch.no_grad()
    def logits(self) -> torch.Tensor:
        return self.model.eval()(self.batch(), keep=1)[:, -1]


@pytest.fixture
def trained(configure: Callable[..., Config], root: Path, tmp_path: Path) -> Callable[..., Trained]:
    def made(family: str, *words: str) -> Trained:
        name = {
            "composed": ("model=smollm2", f"model.language={root / 'composed'}", "model.encoder_width=16"),
            "thinker": ("model=qwen2_5_omni_3b", f"model.checkpoint={root / 'thinker'}"),
            "whole": ("model=qwen2_5_omni_3b", f"model.checkpoint={root / 'whole'}"),
        }[family]
        small = ("finetuning.rank=4", "finetuning.alpha=8", "datasets.demo.tasks=[emotion]", f"cache_root={tmp_path}")
        return Trained(configure(*name, *small, *words), tmp_path / "run")

    return made


def export(monkeypatch: pytest.MonkeyPatch, trained: Trained, *words: str) -> tuple[Path, str]:
    """The folder that the command wrote, and what it said at its end ("" where it ended well)."""
    words = (f"run={trained.folder}", f"cache_root={trained.cfg.cache_root}", *words)
    monkeypatch.setattr(sys, "argv", ["export.py", *words])
    monkeypatch.delenv("AFFECT_STAMP", raising=False)
    kind = "adapter" if "export_as=adapter" in words else "merged"
    try:
        main()
    except SystemExit as end:
        return trained.folder / f"export_{kind}", str(end.code)
    return trained.folder / f"export_{kind}", ""


@torch.no_grad()
def plain(model: torch.nn.Module, batch: dict[str, Any]) -> torch.Tensor:
    """What transformers' own forward says, with its own positions."""
    inputs = {key: value for key, value in batch.items() if key != "answer_length"}
    return model.eval()(**inputs).logits[:, -1]


THINKER = transformers.Qwen2_5OmniThinkerForConditionalGeneration


def check_merged(monkeypatch: pytest.MonkeyPatch, made: Trained) -> None:
    """Merged weights give in plain transformers the logits of the trained model, which are not those of the base."""
    folder, said = export(monkeypatch, made)
    assert said == "" and "vLLM refuses" not in (folder / "README.md").read_text()
    logits = made.logits()
    torch.testing.assert_close(plain(THINKER.from_pretrained(folder), made.batch()), logits, atol=1e-4, rtol=1e-4)
    assert (logits - plain(THINKER.from_pretrained(made.cfg.model.checkpoint), made.batch())).abs().max() > 0.01


def test_weights_trained_whole_are_exported_for_plain_transformers(trained, monkeypatch) -> None:
    check_merged(monkeypatch, trained("thinker", "finetuning=full", "modalities=tav"))


@pytest.mark.parametrize("method", METHODS)
def test_an_adapter_is_exported_for_peft_and_merged(trained, monkeypatch, method) -> None:
    from peft import PeftModel

    if method == "qlora":
        pytest.importorskip("bitsandbytes")
    made = trained("thinker", f"finetuning={method}", "finetuning.audio=lora", "modalities=tav")
    check_merged(monkeypatch, made)
    folder, said = export(monkeypatch, made, "export_as=adapter")
    assert said == ""
    # As its card says, in a process that knows nothing of affect, but for where the two folders are here.
    [code] = re.findall(r"```python\n(.*?)```", (folder / "README.md").read_text(), re.DOTALL)
    assert ("BitsAndBytesConfig" in code) == (method == "qlora") and "affect" not in code
    code = code.replace('"this folder"', repr(str(folder))).replace("'thinker'", repr(made.cfg.model.checkpoint))
    names: dict[str, Any] = {}
    exec(code, names)
    model = names["model"]
    assert isinstance(model, PeftModel)
    assert len([n for n, _ in model.named_modules() if n.endswith(".lora_A")]) == len(
        [m for m in made.model.modules() if hasattr(m, "lora_A")]
    )
    torch.testing.assert_close(plain(model, made.batch()), made.logits(), atol=1e-4, rtol=1e-4)
    config = json.loads((folder / "adapter_config.json").read_text())
    assert config["base_model_name_or_path"] == made.cfg.model.checkpoint
    assert "THINKER" not in config and config["peft_type"] == "LORA"


def test_an_adapter_that_vllm_would_not_serve_whole_says_which_modules(trained, monkeypatch, capsys) -> None:
    towers = ("finetuning.audio=lora", "finetuning.vision=lora", "finetuning.targets=[q_proj,v_proj,q]")
    made = trained("thinker", *towers, "modalities=tav")
    folder, said = export(monkeypatch, made, "export_as=adapter")
    assert said == ""
    printed, card = capsys.readouterr().out, (folder / "README.md").read_text().replace(r"\*", "*")
    audio, picture = "model.audio_tower.layers.*.self_attn.q_proj (2)", "model.visual.blocks.*.attn.q (2)"
    names = json.loads((folder / "adapter_config.json").read_text())["target_modules"]
    outside = {
        re.sub(r"\.\d+", ".*", name) for name in names if "language_model" not in name and "model.layers" not in name
    }
    for text in (printed, card):
        [sentence] = re.findall(r"vLLM serves adapters of the language model alone.*", text)
        assert f"of the audio tower {audio}" in sentence and f"of the vision tower {picture}" in sentence
        assert sentence.endswith("export it merged: export_as=merged")
        assert set(re.findall(r"([\w.*]+) \(\d+\)", sentence)) == outside
        assert "language_model" not in sentence


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (("finetuning=dora", "export_as=adapter"), "vLLM refuses adapters that were trained with DoRA. To serve this"),
        (("finetuning=lora", "export_as=adapter"), ""),
    ],
)
def test_what_vllm_serves_says_nothing(trained, monkeypatch, capsys, words, sentence) -> None:
    made = trained("thinker", *(word for word in words if "export_as" not in word), "modalities=ta")
    folder, _ = export(monkeypatch, made, words[-1])
    for text in (capsys.readouterr().out, (folder / "README.md").read_text()):
        assert sentence in text and ("export_as=merged" in text) == bool(sentence)


def test_towers_that_training_did_without_are_exported_all_the_same(trained, monkeypatch, root) -> None:
    made = trained("thinker", "modalities=t")
    assert made.model.backbone.model.audio_tower is None
    clip_rows.write(made.folder, [], {}, [])
    folder, said = export(monkeypatch, made)
    assert said == ""
    assert clip_rows.read(folder) is not None, "who evaluates it has to know what it was trained on"
    found = THINKER.from_pretrained(folder, output_loading_info=True)[1]
    assert not found["missing_keys"] and not found["unexpected_keys"]
    merged, base = load_file(folder / "model.safetensors"), load_file(root / "thinker" / "model.safetensors")
    assert merged.keys() == base.keys()
    changed = {name for name in base if not torch.equal(base[name], merged[name])}
    assert changed and all("_proj" in name and "audio_tower" not in name for name in changed)


def test_a_whole_checkpoint_gives_one_of_the_same_layout(trained, monkeypatch, root) -> None:
    made = trained("whole", "modalities=ta")
    folder, said = export(monkeypatch, made)
    assert said == ""
    names, base = set(load_file(folder / "model.safetensors")), set(load_file(root / "whole" / "model.safetensors"))
    # The talker is left out, which vLLM does not read. transformers' class of the whole model would want its voices
    # (spk_dict.pt) even with its speech turned off; the thinker's class, which answers, does not.
    assert names == {name for name in base if name.startswith("thinker.")}
    config = json.loads((folder / "config.json").read_text())
    assert config["model_type"] == "qwen2_5_omni" and config["enable_audio_output"] is False
    assert config["thinker_config"]["model_type"] == "qwen2_5_omni_thinker"
    torch.testing.assert_close(
        plain(THINKER.from_pretrained(folder), made.batch()), made.logits(), atol=1e-4, rtol=1e-4
    )
    # And affect itself takes it as a checkpoint.
    made.cfg.model.checkpoint = str(folder)
    again, _ = models.load(made.cfg.model, modalities="ta", cache_root=folder)
    with torch.no_grad():
        torch.testing.assert_close(again.eval()(made.batch(), keep=1)[:, -1], made.logits(), atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize(
    ("audio", "words"),
    [("conv", ("export_as=adapter",)), ("whisper", ("export_as=merged",)), ("whisper", ("export_as=adapter",))],
)
def test_a_composed_model_comes_back_by_its_loader(trained, monkeypatch, root, words, audio) -> None:
    chosen = [] if audio == "conv" else [f"model.audio={root / 'whisper'}", "finetuning.audio=lora"]
    made = trained("composed", "finetuning=pissa", "modalities=tav", *chosen)
    folder, said = export(monkeypatch, made, *words)
    assert said == ""
    model, encoder = load(folder)
    assert not model.training
    batch = made.batch()
    made.encoder = encoder
    again = made.batch()
    assert all(torch.equal(batch[key], again[key]) for key in batch if key != "answer_length")
    with torch.no_grad():
        torch.testing.assert_close(model(again, keep=1)[:, -1], made.logits(), atol=1e-4, rtol=1e-4)
    assert model(again, keep=1).shape[-1] == made.logits().shape[-1]


def test_the_language_model_of_a_composed_one_is_transformers_own(trained, monkeypatch) -> None:
    made = trained("composed", "modalities=t")
    folder, _ = export(monkeypatch, made)
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder / "language")
    language = transformers.AutoModelForCausalLM.from_pretrained(folder / "language")
    prompt = json.loads((folder / "prompts.json").read_text())["demo.emotion"]
    turns = [{"role": m["role"], "content": "".join(part["text"] for part in m["content"])} for m in prompt["messages"]]
    assert tokenizer.apply_chat_template(turns, tokenize=False, add_generation_prompt=True) == prompt["prompt"]
    ids = tokenizer(prompt["prompt"], add_special_tokens=False, return_tensors="pt")
    batch = made.encoder.encode([Conversation(messages=prompt["messages"])])
    assert torch.equal(ids["input_ids"], batch["input_ids"])
    with torch.no_grad():
        own = made.model.eval()(batch, keep=1)[:, -1]
        torch.testing.assert_close(language(**ids).logits[:, -1], own, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("checkpoint", ["thinker", "whole"])
def test_heads_go_with_what_their_rows_mean(trained, monkeypatch, checkpoint) -> None:
    made = trained(checkpoint, "finetuning.target=head", "evaluation=head", "modalities=t")
    folder, said = export(monkeypatch, made)
    assert said == ""
    [(key, meaning)] = json.loads((folder / "heads.json").read_text()).items()
    tensors = load_file(folder / "heads.safetensors")
    assert meaning["labels"] == sorted(made.cfg.datasets["demo"].task_definitions["emotion"].labels)
    # As the card says it: the state that the output embedding is given, at the last position.
    model = THINKER.from_pretrained(folder).eval()
    inputs = {name: value for name, value in made.batch().items() if name != "answer_length"}
    with torch.no_grad():
        states = model(**inputs, output_hidden_states=True).hidden_states[-1][:, -1]
        own = heads.last_states(made.model.eval(), made.batch()) @ made.model.heads.layers[key].weight.T
    found = states @ tensors[f"layers.{key}.weight"].T
    torch.testing.assert_close(found, own, atol=1e-4, rtol=1e-4)


def test_the_card_says_what_it_is_made_of(trained, monkeypatch) -> None:
    hostile = 'model.licence="Qwen Research Licence <img src=x> [a](javascript:f)"'
    made = trained("thinker", "modalities=ta", "finetuning.audio=lora", "finetuning.audio_learning_rate=3e-5", hostile)
    folder, _ = export(monkeypatch, made)
    card = (folder / "README.md").read_text()
    assert r"Qwen Research Licence &lt;img src=x> [a\](javascript:f)" in card and "<img" not in card
    assert "library_name: transformers" in card and "Qwen2_5OmniThinkerForConditionalGeneration" in card
    assert str(folder) not in card and str(made.folder) not in card
    assert "| demo | test | 4 | 3 |" in card
    [uar] = [line for line in card.splitlines() if "| uar |" in line]
    signature = json.loads((made.folder / "metrics.json").read_text())["tasks"]["demo.emotion"]["signatures"]
    assert signature["lenient"]["uar"].replace("|", r"\|") in uar and "0.6667" in uar
    assert re.search(r"\| audio \| lora \| [\d,]+ \| [\d,]+ \| 3e-05 \|", card)
    assert "Qwen Research Licence" in card and "Synthetic clips, made by affect" in card
    prompt = json.loads((folder / "prompts.json").read_text())["demo.emotion"]
    assert "{transcript}" in prompt["prompt"] and {"type": "audio"} in prompt["messages"][-1]["content"]
    assert prompt["answers"]["joy"] == "joy"
    processor = transformers.AutoProcessor.from_pretrained(folder)
    again = processor.apply_chat_template(prompt["messages"], tokenize=False, add_generation_prompt=True)
    assert again == prompt["prompt"]


# ---------------------------------------------------------------- what cannot be exported


def test_what_is_there_is_not_written_over(trained, monkeypatch) -> None:
    made = trained("composed", "modalities=t")
    folder, _ = export(monkeypatch, made)
    before = sorted(folder.rglob("*"))
    _, said = export(monkeypatch, made)
    assert f"export_folder={folder} is there already: name another, or remove it" in said
    assert sorted(folder.rglob("*")) == before


@pytest.mark.parametrize(
    ("family", "words", "sentence"),
    [
        (
            "thinker",
            ["finetuning=full", "finetuning.projector=full"],
            "export_as=adapter, but finetuning trained language and projector whole, which no adapter",
        ),
        (
            "composed",
            ["finetuning.language=frozen"],
            "export_as=adapter, but finetuning gave no LoRA to the language model: export it with export_as=merged",
        ),
        ("composed", ["finetuning=qlora"], "was trained on a composed model in 4 bits, and belongs to those rounded"),
    ],
)
def test_what_is_no_adapter_is_refused(trained, monkeypatch, family, words, sentence) -> None:
    if "finetuning=qlora" in words:
        pytest.importorskip("bitsandbytes")
    made = trained(family, *words, "modalities=ta")
    folder, said = export(monkeypatch, made, "export_as=adapter")
    assert sentence in said
    assert not folder.exists() and not list(made.folder.glob(".export*"))


def test_an_evaluation_and_a_folder_that_is_none_are_refused(trained, monkeypatch, tmp_path) -> None:
    made = trained("composed", "modalities=t")
    environment = made.folder / "environment.json"
    environment.write_text(environment.read_text().replace('"program": "train"', '"program": "evaluate"'))
    _, said = export(monkeypatch, made)
    sentence = f"run={made.folder} is an evaluation, which has no weights of its own: name the training, run=outputs/…"
    assert sentence in said
    made.folder = tmp_path / "nothing"
    _, said = export(monkeypatch, made)
    assert f"{tmp_path / 'nothing'} does not exist: name a run folder" in said
    with pytest.raises(ConfigError, match=r"has no composed\.json: name the folder of an exported composed model"):
        load(tmp_path)


def test_an_export_does_not_decide_that_its_code_is_run(trained, monkeypatch) -> None:
    made = trained("composed", "modalities=t", "model.trust_remote_code=true")
    folder, _ = export(monkeypatch, made)
    assert 'load("this folder", trust_remote_code=True)' in (folder / "README.md").read_text()
    with pytest.raises(ConfigError, match=r"runs Python code of its checkpoint's authors.*trust_remote_code=True"):
        load(folder)
    model, _ = load(folder, trust_remote_code=True)
    with torch.no_grad():
        torch.testing.assert_close(model(made.batch(), keep=1)[:, -1], made.logits(), atol=1e-4, rtol=1e-4)


def test_a_checkpoint_of_another_base_is_refused(trained, monkeypatch, root) -> None:
    made = trained("thinker", "modalities=t")
    path = made.folder / "checkpoints" / "best.ckpt"
    checkpoint = torch.load(path)
    checkpoint["base"]["values"] += 1
    torch.save(checkpoint, path)
    _, said = export(monkeypatch, made)
    assert re.search(rf"{path} was trained on another base: (\d+) of \1 tensors", said)


def test_too_little_room_is_said_before_anything_is_written(trained, monkeypatch) -> None:
    made = trained("composed", "modalities=t")
    usage = weights.shutil.disk_usage(made.folder)
    monkeypatch.setattr(weights.shutil, "disk_usage", lambda path: usage._replace(free=1000))
    folder, said = export(monkeypatch, made)
    assert re.search(rf"export_folder={folder} needs 0\.\d MB, and there are 0\.0 MB free: make room, or name a", said)
    assert not folder.exists()


@contextmanager
def largest_file(size: int):
    """No file may grow beyond `size` bytes in the block: the system refuses to write on, as on a full disk."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.mark.parametrize("size", [1_000, 60_000])
def test_a_disk_that_becomes_full_leaves_nothing_behind(tmp_path, size) -> None:
    with pytest.raises(ConfigError, match=r"cannot be written \(.+\): make room, or name another folder"):  # noqa: SIM117
        with weights.new_folder(tmp_path / "export", 10) as made, largest_file(size):
            (made / "README.md").write_text("x" * 1_001)
            weights.save_file({"x": torch.zeros(100_000)}, made / "model.safetensors")
    assert not list(tmp_path.iterdir())


def test_a_folder_that_cannot_be_made_is_said(tmp_path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match="cannot be written"), weights.new_folder(tmp_path / "file" / "x", 1):
        pass
