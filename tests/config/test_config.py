"""The configuration and the command line: everything shipped composes, and every mistake is answered by a sentence."""

import json
import os
import re
import resource
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from affect.cli import validate
from affect.cli.entry import entry
from affect.cli.validate import conflicts
from affect.config import (
    GROUPS,
    PACKAGES,
    ConfigError,
    Kind,
    Tower,
    compose,
    groups,
    read_yaml,
    register,
    to_json,
    to_yaml,
)
from affect.config.groups import DELTAS
from affect.config.hydra_errors import REFUSALS, refusal
from affect.data import files as atomic
from affect.runs import inherit, lifecycle, run_folder

ROOT = Path(__file__).resolve().parents[2]
CONF = ROOT / "conf"


def files(group: str) -> list[str]:
    return sorted(path.stem for path in (CONF / group).glob("*.yaml"))


# Words that a choice needs so that it stands for a possible run.
NEEDED = {
    ("finetuning", "probe"): ["modalities=t", "evaluation=head"],
    ("model", "tfidf"): ["modalities=t"],
    ("dataset", "manifest"): ["datasets.manifest.root=clips.csv"],
    ("dataset", "mer2023"): ["modalities=av"],
    ("dataset", "ravdess"): ["modalities=ta"],
    ("model", "audio_flamingo3"): ["modalities=ta"],
    ("model", "gemma4_31b"): ["modalities=tv"],
    ("model", "nemotron_omni_30b_a3b"): ["modalities=ta"],
    ("model", "qwen2_5_7b_text"): ["modalities=t"],
    ("model", "qwen2_audio_7b"): ["modalities=ta"],
    ("model", "qwen3_vl_2b"): ["modalities=tv"],
    ("model", "qwen3_vl_4b"): ["modalities=tv"],
    ("model", "qwen3_vl_8b"): ["modalities=tv"],
    ("model", "video_llama3_2b"): ["modalities=tv"],
    ("model", "voxtral_mini_3b"): ["modalities=ta"],
    ("evaluation", "head"): ["finetuning.target=head"],
    ("knowledge", "file"): ["knowledge.file_path=descriptions.jsonl"],
    ("prompting", "knowledge"): ["knowledge=cues"],
    ("knowledge", "server"): ["knowledge.server_model=omni"],
    ("model", "server"): ["evaluation=generate", "model.url=http://localhost:8000/v1", "model.served=omni"],
}
NEEDED |= {("intervention", name): ["run=trained"] for name in files("intervention")}
ONLY_EVALUATED = {("model", "server"), *(("intervention", name) for name in files("intervention"))}
CHOICES = [(group, name) for group in GROUPS for name in files(group)]


# ---------------------------------------------------------------- what is shipped


def test_there_are_files_in_every_group():
    assert {group for group, _ in CHOICES} == set(GROUPS)
    assert all(files(group) for group in DELTAS)
    listed = {str(path.relative_to(CONF).parent) for path in CONF.rglob("*.yaml")}
    known = {".", *GROUPS, *DELTAS, "hydra/sweeper", "study"}  # studies: tests/cli/test_study.py
    assert listed == known, "a group that GROUPS does not name, or the other way round"


@pytest.mark.parametrize(("group", "name"), CHOICES)
def test_every_choice_composes_and_is_sound(configure, group, name):
    program = "evaluate" if (group, name) in ONLY_EVALUATED else "train"
    cfg = configure(f"{group}={name}", *NEEDED.get((group, name), []), program=program)
    if group == "dataset":
        assert list(cfg.datasets) == [name]
    elif group not in ("knowledge", "logger"):
        assert getattr(cfg, group).name == name, "tables would show another name than the one that was typed"


@pytest.mark.parametrize("name", files("experiment"))
def test_every_experiment_is_sound(configure, name):
    cfg = configure(f"experiment={name}")
    assert cfg.datasets


def test_several_datasets_at_once(configure):
    cfg = configure("dataset=[meld,demo]", "datasets.meld.subset.train=10")
    assert list(cfg.datasets) == ["meld", "demo"]
    assert (cfg.datasets["meld"].subset.train, cfg.datasets["demo"].subset.train) == (10, None)
    assert cfg.datasets["demo"].task_definitions["sentiment"].kind is Kind.intensity
    assert cfg.datasets["demo"].task_definitions["sentiment"].name == "sentiment"


def test_roots_follow_the_environment(configure, monkeypatch):
    monkeypatch.setenv("AFFECT_DATA", "/elsewhere")
    assert configure("dataset=meld").datasets["meld"].root == "/elsewhere/meld"
    assert configure("dataset=meld", "data_root=/here").datasets["meld"].root == "/here/meld"


def test_a_composed_configuration_survives_its_own_yaml(configure, tmp_path):
    cfg = configure("experiment=meld_text")
    atomic.write_atomic(tmp_path / "config.yaml", to_yaml(cfg))
    atomic.write_json(tmp_path / "status.json", {"state": "finished"})
    assert compose.load(inherit.run_config(tmp_path), "train", conflicts) == cfg


@pytest.mark.parametrize("words", [["experiment=meld_text"], ["experiment=demo", "model=mult"], ["knowledge=cues"]])
def test_the_copy_of_a_configuration_has_its_values_and_counts_only_while_it_is_one(configure, tmp_path, words):
    cfg = configure("modalities=t", *words)
    path, copy = tmp_path / "config.yaml", tmp_path / "config.json"
    path.write_text(text := to_yaml(cfg))
    from_yaml = read_yaml(path)
    copy.write_text(to_json(cfg, text))
    assert json.loads(copy.read_text())["config"] == from_yaml == read_yaml(path)
    copy.write_text(copy.read_text().replace('"seed": 1', '"seed": 7'))
    assert read_yaml(path)["seed"] == 7  # it is what is read
    path.write_text(text.replace("seed: 1\n", "seed: 3\n"))
    assert read_yaml(path)["seed"] == 3
    copy.write_text("{")
    assert read_yaml(path)["seed"] == 3


# ---------------------------------------------------------------- mistakes on the command line

MISTAKES = [
    (["trainer.max_epoch=3"], "'trainer.max_epoch' is not in TrainerConfig, did you mean 'max_epochs'?"),
    (["+trainer.foo=3"], "'trainer.foo' is not in TrainerConfig. Its keys: name, "),
    (["+a.b=1"], "'a' is not in Config. Its keys: model, datasets"),
    (["modle=smollm2"], "'modle' is not in Config, did you mean 'model'?"),
    (["trianer=smoke"], "'trianer' is not in Config, did you mean 'trainer'?"),
    (["model@other=smollm2"], "there is no group 'model@other', did you mean 'model'?"),
    (["mdoel@other=smollm2"], "there is no group 'mdoel', did you mean 'model'?"),
    (["dataset=melt"], "dataset=melt does not exist, did you mean 'meld'? Choices: demo, iemocap, manifest"),
    (["dataset=mosie"], "dataset=mosie does not exist, did you mean 'mosi'? Choices: demo, iemocap"),
    (["dataset=[demo,melt]"], "dataset=melt does not exist, did you mean 'meld'?"),
    (["dataset="], "dataset= does not exist. Choices: demo, iemocap"),
    (
        ["experiment=knowledge_grid"],
        "experiment=knowledge_grid does not exist, but sweep=knowledge_grid does. Choices:",
    ),
    (["experiment=foo"], "experiment=foo does not exist. Choices: cues, cues_shuffled, demo"),
    (["sweep=foo"], "sweep=foo does not exist. Choices: baselines, knowledge_grid, learning_rate, learning_rate_s"),
    (["model=[smollm2,qwen2_5_omni_3b]"], "two choices of one group do not go together: give a single one"),
    (["+trainer=smoke"], "+trainer would add a second trainer: to choose another one leave out the +"),
    (["trainer=3"], "trainer=3: a group is given as GROUP=CHOICE"),
    (["model=null"], "model=null: a group is given as GROUP=CHOICE"),
    (["trainer=[]"], "trainer is not set: give it a value, trainer=…"),
    (["~model"], "model is not set: give it a value, model=…"),
    (["dataset=manifest"], "datasets.manifest.root is not set: give it a value, datasets.manifest.root=…"),
    (["trainer.max_epochs=many"], "trainer.max_epochs=many has to be a whole number"),
    (["finetuning.rank=16.5"], "finetuning.rank=16.5 has to be a whole number"),
    (["finetuning.dropout=some"], "finetuning.dropout=some has to be a number"),
    (["trainer.progress=maybe"], "trainer.progress=maybe has to be true or false"),
    (
        ["finetuning.audio=frozn"],
        "finetuning.audio=frozn is not a choice, did you mean 'frozen'? Choices: auto, frozen",
    ),
    (["seed=null"], "seed has to have a value: null and ~seed are refused"),
    (["~trainer.max_epochs"], "trainer.max_epochs has to have a value"),
    (["datasets.demo.tasks=emotion"], "datasets.demo.tasks has to be a list, datasets.demo.tasks=[…]"),
    (["datasets.demo.subset=3"], "datasets.demo.subset is not a single value: give the keys under it"),
    (
        ["++datasets.demo.task_definitions.mood.kind=classification"],
        "there is no task 'mood' to take these keys, and one cannot be added on the command line: write it into a file",
    ),
    (["prompting.system=Hello"], "prompting.system is not a single value: give the keys under it"),
    (["modalities.foo=1"], "modalities is a text: it has no keys under it"),
    (
        ["prompting.system.de=Hallo"],
        "'prompting.system.de' does not exist yet: add it with a +, +prompting.system.de=…",
    ),
    (["datasets.meld.subset.train=3"], "a dataset's keys can be set only when the dataset is chosen, dataset=meld"),
    (["+datasets.foo.reader=meld"], "there is no dataset 'foo' to take these keys: choose it first"),
    (
        ["datasets.demo.task_definitions.emotin.headline=uar"],
        "is not in conf/dataset/demo.yaml, did you mean 'emotion'? Its task_definitions: emotion, sentiment, humour",
    ),
    (["datasets.demo.task_definitions.emotion.lables=[a]"], "is not in Task, did you mean 'labels'?"),
    (["dataset=meld", "datasets.meld.options.contxt=3"], "is not in conf/dataset/meld.yaml, did you mean 'context'?"),
    (["+datasets.demo.options.foo=1"], "options.foo is not an option of the reader 'demo'"),
    (["datasets.demo.reader=dmeo"], "reader=dmeo is not a reader in affect/data/readers (did you mean 'demo'?)"),
    (["dataset=[zz"], "dataset=[zz cannot be read: close every bracket"),
    (
        ["prompting.transcript.en={x}"],
        "is quoted twice, the outer quotes being for the shell: 'prompting.transcript.en=\"{x}\"'",
    ),
    (["trainer..max_epochs=3"], "the parts of a key are names with single dots between them"),
    (["trainer.max_epochs"], "'trainer.max_epochs' is not KEY=VALUE: write trainer.max_epochs=…"),
    (["model.language=${nowhere}"], "model.language refers to ${nowhere}, and there is no such key"),
    (["data_root=${oc.env:AFFECT_NOWHERE}", "dataset=meld"], "needs the environment variable AFFECT_NOWHERE: set it"),
]
# What only the command line itself can refuse, and one mistake for every kind of exception it has to catch.
COMMAND_LINE_MISTAKES = [
    (["sweep=modalities"], "sweep=modalities is a list of runs: add -m, or leave it out"),
    (["modalities=t,a"], "modalities=t,a is several values: add -m for a run with each of them"),
    (["--seed", "3"], "--seed has dashes: keys are given as KEY=VALUE, seed=…"),
    (
        ["--trainer.max-epochs=3"],
        "--trainer.max-epochs=3 has dashes: keys are given as KEY=VALUE, trainer.max_epochs=…",
    ),
    (["-m", "model=smollm2,foo"], "model=foo does not exist. Choices: audio_flamingo3"),
    (["-m", "trainer.max_epochs=1,many"], "trainer.max_epochs=many has to be a whole number"),
    (["=3"], "=3: a group is given as GROUP=CHOICE"),
    (["hydra.foo=1"], "'hydra.foo' is not one of Hydra's: leave it out"),
    *(
        mistake
        for mistake in MISTAKES
        if mistake[0][0] in ("+trainer.foo=3", "dataset=[zz", "modle=smollm2", "dataset=mosie")
    ),
    *(
        mistake
        for mistake in MISTAKES
        if mistake[0][0] in ("model.language=${nowhere}", "+datasets.demo.options.foo=1")
    ),
]


def words_as_id(value):
    return " ".join(value) if isinstance(value, list) else ""


def assert_a_sentence(said: str, sentence: str) -> None:
    assert said.startswith("The configuration cannot be run:\n  - ")
    assert sentence in said
    # What Hydra and OmegaConf say among themselves is nothing to a researcher.
    for internal in ("Traceback", "full_key", "object_type", "hydra.cc", "Config search path", "struct", "conf/"):
        assert internal not in said.replace("conf/dataset/", ""), said


@pytest.mark.parametrize(("words", "sentence"), MISTAKES, ids=words_as_id)
def test_a_mistake_is_answered_by_a_sentence(configure, words, sentence):
    with pytest.raises((*REFUSALS, ValueError)) as refused:
        configure(*words)
    assert_a_sentence(refusal(refused.value, words), sentence)


@pytest.mark.parametrize(("words", "sentence"), COMMAND_LINE_MISTAKES, ids=words_as_id)
def test_the_command_line_ends_with_the_sentence(command, capsys, words, sentence):
    called, said = command(*words)
    assert called == []
    assert_a_sentence(said, sentence)
    assert "Traceback" not in capsys.readouterr().err


# ---------------------------------------------------------------- rules that span keys

RULES = [
    (["dataset=[]"], "no dataset is chosen: give one or several, dataset=demo or dataset=[demo,meld]"),
    (
        ["model=qwen2_audio_7b", "modalities=tav"],
        "modalities=tav has video, but model=qwen2_audio_7b takes only text and audio: choose another model, or",
    ),
    (
        ["model=qwen3_vl_2b", "modalities=ta"],
        "modalities=ta has audio, but model=qwen3_vl_2b takes only text and video: choose another model, or leave",
    ),
    (
        ["model=qwen3_vl_2b", "modalities=tv", "model.modalities=tav"],
        "model.modalities=tav has audio, which no model of family qwen3_vl takes: leave a out",
    ),
    (
        ["model.projector=qformer", "model.audio_tokens=80"],
        "model.audio_tokens=80 queries would look at model.qformer_steps=64 parts of a clip: raise model.qformer_steps",
    ),
    (
        ["model.projector=qformer", "model.encoder_width=100"],
        "model.encoder_width=100 cannot be shared out to model.qformer_heads=8: make it a multiple",
    ),
    (
        ["model.projector=qformer", "model.qformer_layers=0"],
        "model.qformer_layers=0 has to be at least 1",
    ),
    (
        ["model.family=qwen_omni"],
        "model.family=qwen_omni does not fit model=smollm2, whose keys are those of ComposedConfig",
    ),
    (["model.name=a/b"], "model.name=a/b becomes part of a folder's name: make it of letters, digits"),
    (["model.name=.."], "model.name=.. becomes part of a folder's name"),
    (["modalities=tx"], "modalities=tx has to be made of the letters t, a, v, each at most once"),
    (["modalities=tt"], "modalities=tt has to be made of the letters t, a, v, each at most once"),
    (["modalities=''"], "modalities= has to be made of the letters t, a, v"),
    (
        ["model.modalities=t"],
        "modalities=tav has audio, but model=smollm2 takes only text: choose another model, or leave a out",
    ),
    (["dataset=ravdess"], "modalities=tav has video, but dataset=ravdess has only text and audio: leave v out"),
    (["model.vision=null"], "modalities=tav has video, but model.vision=null: name an encoder (conv), or leave v out"),
    (["datasets.demo.tasks=[]"], "datasets.demo.tasks is empty: choose from emotion, sentiment, humour"),
    (
        ["datasets.demo.tasks=[emotoin]"],
        "datasets.demo.tasks names 'emotoin', which dataset=demo does not have, did you mean 'emotion'?",
    ),
    (
        ["datasets.demo.task_definitions.emotion.headline=weighted_f2"],
        "task 'emotion' (classification) has headline=weighted_f2, did you mean 'weighted_f1'? Metrics of that kind:"
        " accuracy",
    ),
    (
        ["datasets.demo.tasks=[sentiment]", "datasets.demo.task_definitions.sentiment.headline=uar"],
        "task 'sentiment' (intensity) has headline=uar. Metrics of that kind: mae, pearson, ccc",
    ),
    (["datasets.demo.task_definitions.emotion.labels=[joy]"], "task 'emotion' has a single label (joy)"),
    (["datasets.demo.task_definitions.emotion.labels=[joy,Joy]"], "task 'emotion' names a label twice"),
    (
        ["+datasets.demo.task_definitions.emotion.words.en={joi:glad}"],
        "has words (en) for labels it does not have: joi",
    ),
    (["+datasets.demo.task_definitions.emotion.words.en={joy:sadness}"], "uses one word (en) for two labels"),
    (
        ["datasets.demo.tasks=[sentiment]", "datasets.demo.task_definitions.sentiment.step=null"],
        "task 'sentiment' is an intensity: give low, high and step",
    ),
    (
        ["datasets.demo.tasks=[sentiment]", "datasets.demo.task_definitions.sentiment.low=5"],
        "task 'sentiment' has low=5.0 and high=3.0: low has to be the smaller",
    ),
    (
        ["datasets.demo.tasks=[sentiment]", "datasets.demo.task_definitions.sentiment.step=0.7"],
        "task 'sentiment' has step=0.7, which does not divide the range from -3.0 to 3.0",
    ),
    (
        ["datasets.demo.task_definitions.emotion.question.en='Which of {lables}?'"],
        "the question (en) of task 'emotion' has a placeholder that is not one of {labels}, {low}, {high}: 'lables'",
    ),
    (["datasets.demo.language=zh"], "task 'emotion' has no question in language 'zh': add question.zh"),
    (
        ["datasets.demo.language=de", "+datasets.demo.task_definitions.emotion.question.de='Wie?'"],
        "dataset=demo is in language 'de', but prompting=plain has no system in it: add prompting.system.de",
    ),
    (
        ["prompting.transcript.en='They say: {txt}'"],
        "prompting.transcript.en has a placeholder that is not {text}: 'txt'",
    ),
    (
        ["prompting.transcript.en='They speak.'"],
        "prompting.transcript.en lacks its placeholder {text}: add it where the text belongs",
    ),
    (["prompting.context.en='Before: {turns'"], "prompting.context.en has a placeholder that is not {turns}"),
    (
        ["finetuning.language=frozen", "model.gradient_checkpointing=true"],
        "model.gradient_checkpointing=true saves memory only in towers that are trained, and finetuning.language=",
    ),
    (["finetuning.audio=frozen"], "finetuning.audio=frozen, but model.audio=conv is new and has to be trained whole"),
    (["finetuning.vision=lora"], "finetuning.vision=lora, but model.vision=conv is new and has to be trained whole"),
    (["finetuning.projector=frozen"], "finetuning.projector=frozen, but the projector of model=smollm2 is new"),
    (
        ["finetuning.language=frozen", "modalities=t"],
        "finetuning=lora trains nothing with modalities=t: set finetuning.language=lora",
    ),
    (["clip=demo/test/1"], "clip=demo/test/1 is for `affect show`: leave it out here"),
    (["run=outputs/x"], "run=outputs/x is for `python evaluate.py` and `affect show`"),
    (["evaluation.split=tset"], "evaluation.split=tset is not a split, did you mean 'test'? Splits: train, val, test"),
    (["trainer.max_batches=0"], "trainer.max_batches=0 has to be at least 1, or null"),
    (["datasets.demo.subset.train=0"], "datasets.demo.subset.train=0 has to be at least 1"),
    (["datasets.demo.audio_track=-1"], "datasets.demo.audio_track=-1 must not be below 0"),
    *(
        ([f"{key}=0"], f"{key}=0 has to be at least 1")
        for key in (
            "trainer.max_epochs",
            "trainer.batch_size",
            "trainer.accumulate",
            "trainer.check_workers",
            "trainer.log_every",
            "evaluation.batch_size",
            "evaluation.max_new_tokens",
            "finetuning.rank",
            "finetuning.alpha",
            "model.num_frames",
            "model.frame_size",
            "model.audio_tokens",
            "model.video_tokens",
            "model.encoder_width",
            "prompting.max_text_tokens",
        )
    ),
    *(
        ([f"{key}={value}"], f"{key}={value} has to be above 0")
        for key in (
            "finetuning.learning_rate",
            "finetuning.new_learning_rate",
            "finetuning.alignment_learning_rate",
            "trainer.max_grad_norm",
            "model.max_seconds",
        )
        for value in ("0.0", "-0.1")
    ),
    *(
        ([f"{key}=-1"], f"{key}=-1")
        for key in ("trainer.num_workers", "finetuning.weight_decay", "finetuning.alignment_epochs", "seed")
    ),
    *(
        ([f"finetuning.{key}={value}"], f"finetuning.{key}={value} {words}")
        for key in ("dropout", "warmup")
        for value, words in (("1.0", "has to be below 1"), ("-0.1", "must not be below 0"))
    ),
]


@pytest.mark.parametrize(("words", "sentence"), RULES, ids=words_as_id)
def test_a_broken_rule_is_named(configure, words, sentence):
    with pytest.raises(ConfigError, match=re.escape(sentence)):
        configure(*words)


def test_a_family_without_its_package_is_refused_with_how_to_get_it(configure, monkeypatch):
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    for family, package in PACKAGES.items():
        assert any(re.fullmatch(rf"{package}\W.*", requirement) for requirement in extras[family])
    monkeypatch.setattr(validate, "find_spec", lambda name: None)
    sentence = "model.family=gemma3n needs the package timm, which is not installed: pip install -e '.[gemma3n]', or"
    with pytest.raises(ConfigError, match=re.escape(sentence)):
        configure("model=gemma3n_e2b")


def test_new_encoders_mean_nothing_zero_shot(configure):
    with pytest.raises(
        ConfigError, match=re.escape("the audio encoder of model=smollm2 is new and means nothing until it")
    ):
        configure("modalities=ta", program="evaluate")
    with pytest.raises(ConfigError, match=re.escape("evaluate zero-shot with modalities=t, or name a trained run=…")):
        configure("modalities=av", program="evaluate")
    assert configure("modalities=t", program="evaluate").run is None
    assert configure("model=qwen2_5_omni_3b", program="evaluate").modalities == "tav"
    assert configure("clip=demo/test/1", program="show").clip == "demo/test/1"


def test_all_broken_rules_are_said_together(configure):
    with pytest.raises(ConfigError) as refused:
        configure(
            "trainer.batch_size=0",
            "finetuning.dropout=2",
            "evaluation.split=tset",
            "prompting.transcript.en=x",
            "clip=y",
        )
    lines = str(refused.value).splitlines()
    assert len(lines) == 5
    for start in ("trainer.batch_size", "finetuning.dropout", "evaluation.split", "prompting.transcript.en", "clip=y"):
        assert sum(line.startswith(start) for line in lines) == 1, lines


def test_all_unknown_and_all_missing_keys_are_said_together(configure):
    with pytest.raises(ConfigError, match=r"(?s)'trainer.foo'.*'seeed' is not in Config, did you mean 'seed'"):
        configure("+trainer.foo=3", "+seeed=4")
    with pytest.raises(ConfigError, match=r"(?s)datasets.manifest.root is not set.*\nlogger is not set"):
        configure("dataset=manifest", "~logger")


def test_what_is_sound_is_not_refused(configure):
    cfg = configure("finetuning.audio=full", "finetuning.projector=full", "finetuning.language=frozen", "modalities=a")
    assert cfg.finetuning.audio is Tower.full
    assert configure("dataset=meld", "modalities=t", "model.audio=null", "model.vision=null").modalities == "t"
    assert (
        configure('prompting.transcript.en="{text} and {{braces}}"').prompting.transcript["en"]
        == "{text} and {{braces}}"
    )


# ---------------------------------------------------------------- mistakes in files of conf


@pytest.fixture
def own_conf(tmp_path, monkeypatch):
    """A copy of conf that a test can write into, in use in its place."""
    copy = tmp_path / "conf"
    shutil.copytree(CONF, copy)
    monkeypatch.setattr("affect.cli.program.CONF", copy)
    monkeypatch.setattr(groups, "CONF", copy)
    return copy


GLOBAL = "# @package _global_\n"
FILES = [
    (
        "trainer/default.yaml",
        "max_epoch: 3\n",
        [],
        "conf/trainer/default.yaml: the key 'trainer.max_epoch' is not in TrainerConfig, did",
    ),
    (
        "trainer/default.yaml",
        "max_epochs: many\n",
        [],
        "conf/trainer/default.yaml: trainer.max_epochs=many has to be a whole number",
    ),
    (
        "trainer/default.yaml",
        "accelerator: gpu\n",
        [],
        "conf/trainer/default.yaml: trainer.accelerator=gpu is not a choice",
    ),
    (
        "trainer/default.yaml",
        "max_epochs: null\n",
        [],
        "conf/trainer/default.yaml: trainer.max_epochs has to have a value",
    ),
    (
        "trainer/default.yaml",
        "max_epochs: 3: 4\n",
        [],
        "conf/trainer/default.yaml, line 3 is not YAML (mapping values are not",
    ),
    ("trainer/list.yaml", "- a\n", ["trainer=list"], "conf/trainer/list.yaml: the file holds a list"),
    (
        "dataset/demo.yaml",
        "taks: [a]\n",
        [],
        "conf/dataset/demo.yaml: the key 'datasets.demo.taks' is not in DatasetConfig, did you mean 'tasks'",
    ),
    (
        "dataset/new.yaml",
        "# @package datasets.new\ntask_definitions: {emotion: {lables: [a]}}\n",
        ["dataset=new"],
        "conf/dataset/new.yaml: the key 'datasets.new.task_definitions.emotion.lables' is not in Task, did you mean"
        " 'labels'",
    ),
    (
        "dataset/new.yaml",
        "reader: demo\n",
        ["dataset=new"],
        "conf/dataset/new.yaml: the key 'dataset' is not in Config: the file's first",
    ),
    (
        "model/new.yaml",
        "defaults: [/schema/compsed@_here_]\n",
        ["model=new"],
        "conf/model/new.yaml: schema=compsed does not exist, did you",
    ),
    (
        "model/new.yaml",
        "name: new\nmodalities: t\nfamily: composed\n",
        ["model=new"],
        "model.family=composed does not fit model=new",
    ),
    (
        "experiment/demo.yaml",
        "trainer: {max_epoch: 3}\n",
        ["experiment=demo"],
        "conf/experiment/demo.yaml: the key 'trainer.max_epoch' is",
    ),
    (
        "experiment/demo.yaml",
        "modality: t\n",
        ["experiment=demo"],
        "conf/experiment/demo.yaml: the key 'modality' is not in Config, did",
    ),
    (
        "experiment/new.yaml",
        "seed: 3\n",
        ["experiment=new"],
        "conf/experiment/new.yaml: the key 'experiment' is not in Config: the file",
    ),
    (
        "experiment/new.yaml",
        GLOBAL + "defaults:\n  - override /datset: [demo]\n",
        ["experiment=new"],
        "conf/experiment/new.yaml: there is no group 'datset', did you mean 'dataset'?",
    ),
    (
        "experiment/new.yaml",
        GLOBAL + "defaults:\n  - override /dataset: [deom]\n",
        ["experiment=new"],
        "conf/experiment/new.yaml: dataset=deom does not exist, did you mean 'demo'?",
    ),
    (
        "sweep/modalities.yaml",
        "seeed: 3\n",
        ["-m", "sweep=modalities"],
        "conf/sweep/modalities.yaml: the key 'seeed' is not in Config, did",
    ),
    (
        "sweep/new.yaml",
        GLOBAL + "hydra: {sweeper: {parms: {seed: '1,2'}}}\n",
        ["-m", "sweep=new"],
        "conf/sweep/new.yaml: the key 'hydra.sweeper.parms' is not one of Hydra's",
    ),
    (
        "sweep/new.yaml",
        GLOBAL + "hydra: {sweeper: {params: {trainer.max_epoch: '1,2'}}}\n",
        ["-m", "sweep=new"],
        "conf/sweep/new.yaml: the key 'trainer.max_epoch' is not in TrainerConfig, did you mean 'max_epochs'",
    ),
]


@pytest.mark.parametrize(
    ("file", "text", "words", "sentence"), FILES, ids=lambda value: value if isinstance(value, str) else ""
)
def test_a_mistake_in_a_file_names_the_file_and_the_key(command, own_conf, file, text, words, sentence):
    before = (own_conf / file).read_text() if (own_conf / file).exists() else ""
    (own_conf / file).write_text(before + text)
    called, said = command(*words)
    assert called == [], "refused only after a run had begun"
    assert sentence in said


# ---------------------------------------------------------------- dry runs and sweeps


def everything_in(folder: Path) -> list[Path]:
    return sorted(folder.rglob("*"))


def test_a_dry_run_says_what_it_would_do_and_leaves_nothing(command, tmp_path, capsys):
    called, said = command("dry_run=true", f"output_root={tmp_path / 'out'}", f"cache_root={tmp_path / 'cache'}")
    printed = capsys.readouterr().out
    assert (called, said) == ([], "")
    assert "train: smollm2 on demo (emotion), modalities=tav" in printed
    assert "nothing was run" in printed
    assert everything_in(tmp_path) == [tmp_path / "working_directory"]


def test_a_dry_sweep_checks_every_point_and_leaves_nothing(command, tmp_path, capsys):
    called, said = command("-m", "modalities=t,a,v,ta", "dry_run=true", f"output_root={tmp_path / 'out'}")
    printed = capsys.readouterr().out
    assert (called, said) == ([], "")
    assert re.findall(r"modalities=(\w+), prompting", printed) == ["t", "a", "v", "ta"]
    assert printed.count("nothing was run") == 4
    assert everything_in(tmp_path) == [tmp_path / "working_directory"]


def test_a_crash_in_one_point_of_a_sweep_is_shown_and_the_others_are_run(monkeypatch, tmp_path, capsys):
    done = []

    def main(cfg, job_folder):
        if cfg.modalities == "a":
            raise RuntimeError("out of memory")
        done.append((cfg.modalities, Path(job_folder)))

    monkeypatch.setattr(sys, "argv", ["train.py", "-m", "modalities=t,a,v", f"output_root={tmp_path}"])
    with pytest.raises(SystemExit, match="Not finished, for the reason above: #1"):
        entry("train", "About.")(main)()
    assert "RuntimeError: out of memory" in capsys.readouterr().err
    assert [letters for letters, _ in done] == ["t", "v"]
    folders = [folder for _, folder in done]
    assert len({folder.parent for folder in folders}) == 1 and folders[0].parent.parent == tmp_path / "sweeps"
    assert [folder.name.rsplit("_", 1)[0] for folder in folders] == ["smollm2_t_s1", "smollm2_v_s1"]


def test_a_crash_of_a_run_keeps_its_stack_trace(monkeypatch, tmp_path):
    def main(cfg, job_folder):
        raise ValueError("of the run itself")

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["train.py"])
    with pytest.raises(ValueError, match="of the run itself"):
        entry("train", "About.")(main)()


def test_a_sweep_into_a_folder_that_cannot_be_made_is_refused(command, tmp_path):
    (tmp_path / "file").write_text("")
    _, said = command("-m", "modalities=t", f"output_root={tmp_path / 'file'}")
    assert "cannot be written (Not a directory): set output_root to a folder that can" in said


# ---------------------------------------------------------------- values that are none, or too large


@pytest.mark.parametrize(
    ("word", "sentence"),
    [
        ("trainer.max_batches=None", "trainer.max_batches=None has to be a whole number, or null for none, trainer"),
        ("trainer.save_every_minutes=never", "has to be a number, or null for none, trainer.save_every_minutes=null"),
        ("datasets.demo.subset.train=nil", "a whole number, or null for none, datasets.demo.subset.train=null"),
        ("datasets.demo.fraction=None", "has to be a number, or null for none, datasets.demo.fraction=null"),
        ("finetuning.audio_learning_rate=none", "or null for none, finetuning.audio_learning_rate=null"),
        ("knowledge.store=None", "knowledge.store=None is a text: what is not there is written null, knowledge"),
        ("knowledge.server_url=undefined", "is a text: what is not there is written null, knowledge.server_url=null"),
        ("model.audio=none", "model.audio=none is a text: what is not there is written null, model.audio=null"),
        ("logger.entity=NONE", "logger.entity=NONE is a text: what is not there is written null"),
        ("resume=None", "resume=None is a text: what is not there is written null, resume=null"),
        ("run=", "run= is a text: what is not there is written null, run=null"),
        ("cache_root=None", "cache_root=None would be a folder of that name: leave it out to keep the default"),
        ("trainer.batch_size=None", "trainer.batch_size=None has to be a whole number"),
        ("seed=4294967296", "seed=4294967296 has to be at most 4294967295"),
        ("seed=99999999999999999999999", "has to be at most 4294967295"),
        ("finetuning.rank=9223372036854775808", "finetuning.rank=9223372036854775808 is too large: give a number"),
        ("finetuning.learning_rate=inf", "finetuning.learning_rate=inf has to be a finite number"),
        ("finetuning.learning_rate=nan", "finetuning.learning_rate=nan has to be a finite number"),
        ("trainer.save_every_minutes=nan", "trainer.save_every_minutes=nan has to be a finite number"),
    ],
)  # fmt: skip
def test_what_is_no_value_or_none_that_can_be_used_is_refused(command, word, sentence):
    called, said = command(word)
    assert called == [] and said.startswith("The configuration cannot be run:\n  - ") and sentence in said


def test_null_in_any_case_and_the_largest_seed_are_taken(command):
    (cfg,), said = command("trainer.max_batches=null", "knowledge.store=NULL", "seed=4294967295")
    assert said == "" and (cfg.trainer.max_batches, cfg.knowledge.store, cfg.seed) == (None, None, 2**32 - 1)


@pytest.mark.parametrize("option", ["None", "nil", "''"])
def test_an_option_of_a_reader_that_is_a_text_for_null_is_refused(command, option):
    words = ("dataset=manifest", "datasets.manifest.root=x.csv", f"datasets.manifest.options.speaker={option}")
    called, said = command(*words)
    assert called == [] and "is a text: what is not there is written null, options.speaker=null" in said


@pytest.mark.parametrize(("stated", "refused"), [("offlin", True), ("OFFLINE", True), ("dryrun", False), ("", False)])
def test_what_the_environment_says_of_weights_and_biases_is_checked(command, monkeypatch, stated, refused):
    monkeypatch.setenv("WANDB_MODE", stated)
    called, said = command("logger=wandb")
    if refused:
        assert called == []
        assert f"the environment variable WANDB_MODE is '{stated}', which Weights & Biases does not know" in said
        assert "Set it to one of online, offline, disabled" in said
    else:
        assert said == "" and len(called) == 1
    assert command()[1] == "", "who does not use it is not asked"
    assert command("logger=wandb", "logger.mode=offline")[1] == ""


# ---------------------------------------------------------------- evaluate.py run=


@pytest.fixture
def trained(configure, tmp_path):
    """A run folder of train.py, without weights."""
    cfg = configure(
        "dataset=meld", "modalities=t", "seed=7", "data_root=/trained/data", "datasets.meld.subset.test=600"
    )
    cfg.datasets["meld"].task_definitions["emotion"].labels = ["neutral", "joy"]  # as if taken from the training rows
    cfg.output_root = str(tmp_path / "outputs")
    folder = run_folder.create(cfg, "train", None)
    with lifecycle.running(folder):
        pass
    return folder


def test_a_run_brings_its_configuration(command, trained):
    (cfg,), said = command(
        f"run={trained}", "evaluation=generate", "evaluation.batch_size=2", "data_root=/here", program="evaluate"
    )
    assert said == ""
    assert (cfg.modalities, cfg.seed, cfg.run) == ("t", 7, str(trained))
    assert list(cfg.datasets) == ["meld"]
    assert cfg.datasets["meld"].task_definitions["emotion"].labels == ["neutral", "joy"]
    assert cfg.datasets["meld"].subset.test == 600
    assert (cfg.evaluation.readout.value, cfg.evaluation.batch_size) == ("generate", 2)
    assert cfg.datasets["meld"].root == "/here/meld", "data_root is this machine's, not that of the training"
    assert cfg.output_root == "outputs", "an evaluation goes where this command says"


def test_a_run_is_evaluated_on_another_dataset(command, trained):
    (cfg,), _ = command(f"run={trained}", "dataset=[demo,meld]", "datasets.demo.subset.test=5", program="evaluate")
    assert list(cfg.datasets) == ["demo", "meld"]
    assert cfg.datasets["demo"].subset.test == 5
    assert cfg.datasets["meld"].task_definitions["emotion"].labels == ["neutral", "joy"]


@pytest.mark.parametrize(
    "word", ["model=smollm2", "prompting.max_text_tokens=9", "finetuning.rank=4", "knowledge=none", "experiment=demo"]
)
def test_what_a_run_brings_cannot_be_overridden(command, trained, word):
    called, said = command(f"run={trained}", word, "+finetuning.foo=3", program="evaluate")
    assert called == []
    group = re.match(r"\w+", word)[0]
    assert f"cannot be given beside run={trained}: a run brings its own {group}; leave it out" in said
    assert "finetuning.foo cannot be given beside" in said, "only one of the two words is named"


def test_words_that_do_not_fit_the_run_are_refused(command, trained):
    _, said = command(f"run={trained}", "datasets.demo.subset.test=5", program="evaluate")
    assert f"datasets.demo.subset.test: run={trained} is on meld, and has no dataset demo: to evaluate" in said
    assert "on another dataset choose it, dataset=demo" in said
    _, said = command(f"run={trained}", "modalities=ta", program="evaluate")
    assert f"modalities=ta has audio, but run={trained} was trained with modalities=t" in said


@pytest.mark.parametrize("tower", ["audio", "projector"])
def test_a_tower_that_a_run_did_not_load_is_not_evaluated_as_trained(command, configure, tmp_path, tower):
    own = ("model=qwen2_5_omni_3b", "dataset=demo", "modalities=t", f"output_root={tmp_path / 'outputs'}")
    folders = [
        run_folder.create(configure(*own, *words), "train", None) for words in ((), (f"finetuning.{tower}=lora",))
    ]
    called, said = command(f"run={folders[0]}", "modalities=ta", program="evaluate")
    assert said == "" and called[0].modalities == "ta"
    called, said = command(f"run={folders[1]}", "modalities=ta", program="evaluate")
    assert called == []
    assert f"modalities=ta has audio, but run={folders[1]} was trained with modalities=t, and" in said
    assert f"finetuning.{tower}=lora did nothing for what was not there: leave it out, or train with" in said


def test_what_is_no_run_folder_is_refused(command, trained, tmp_path):
    _, said = command(f"run={tmp_path / 'nowhere' / 'x'}", program="evaluate")
    assert f"{tmp_path / 'nowhere' / 'x'} does not exist: name a run folder ({tmp_path} has none)" in said
    _, said = command(f"run={trained.parent / 'typo'}", program="evaluate")
    assert f"{trained.parent} has {trained.name}" in said


@pytest.mark.parametrize(
    ("old", "new", "sentence"),
    [
        (
            "num_frames",
            "num_pictures",
            "does not fit this version of affect (the key 'model.num_pictures' is not in ComposedConfig, did",
        ),
        (
            "family: composed",
            "family: blip",
            "does not fit this version of affect (model.family=blip is not one of composed, qwen_omni, qwen3_omni",
        ),
        ("seed: 7", "seed: many", "does not fit this version of affect (seed=many has to be a whole number)"),
        ("  name: smollm2\n", "", "does not fit this version of affect (it lacks model.name)"),
        ("seed: 7", "seed: [", "config.yaml cannot be read (while parsing a flow sequence)"),
        ("\nmodel:", "\nmodle:", "is not the configuration of a run of affect, it has no model"),
    ],
)
def test_the_configuration_of_another_version_is_refused(command, trained, old, new, sentence):
    file = trained / "config.yaml"
    text = "\n" + file.read_text()
    assert old in text
    file.write_text(text.replace(old, new))
    called, said = command(f"run={trained}", program="evaluate")
    assert called == []
    assert sentence in said


# ---------------------------------------------------------------- real processes


def process(*words: str, cwd: Path) -> tuple[int, str, str, float]:
    """Return code, output, errors and CPU seconds of `python …` with the checkout importable."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run(
        [sys.executable, *words], cwd=cwd, env=environment, capture_output=True, text=True, timeout=120
    )
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    seconds = after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime
    return done.returncode, done.stdout, done.stderr, seconds


@pytest.mark.parametrize("program", ["train.py", "evaluate.py"])
def test_a_mistake_is_refused_before_torch_is_imported(tmp_path, program):
    code, out, errors, _ = process("-X", "importtime", str(ROOT / program), "trainer.max_epoch=3", cwd=tmp_path)
    imported = {line.rsplit("|", 1)[1].strip() for line in errors.splitlines() if line.startswith("import time:")}
    said = "\n".join(line for line in errors.splitlines() if not line.startswith("import time:"))
    assert code == 1 and out == ""
    assert said.startswith("The configuration cannot be run:") and "did you mean 'max_epochs'" in said
    assert "omegaconf" in imported, "the list of imports was not read"
    assert not {"torch", "transformers", "lightning", "peft", "av"} & imported
    assert everything_in(tmp_path) == []


def test_a_mistake_is_refused_within_two_seconds(tmp_path):
    # The quicker of two: what is measured is the program, not what else the machine does at that moment.
    assert min(process(str(ROOT / "train.py"), "trainer.max_epoch=3", cwd=tmp_path)[3] for _ in range(2)) <= 2


def test_help_lists_every_group_and_choice(tmp_path):
    for words in ([str(ROOT / "train.py")], [str(ROOT / "evaluate.py")], ["-m", "affect", "show"]):
        code, out, errors, seconds = process(*words, "--help", cwd=tmp_path)
        assert code == 0 and errors == ""
        assert seconds <= 3
        for group in (*GROUPS, *DELTAS):
            assert re.search(rf"(?m)^  {group} +{', '.join(files(group))}$", out), group
        name = "affect show" if words[-1] == "show" else f"python {Path(words[0]).name}"
        assert f"usage: {name} " in out


def test_help_does_not_wait_for_hydra(tmp_path):
    _, out, errors, _ = process("-X", "importtime", str(ROOT / "train.py"), "--help", cwd=tmp_path)
    imported = {line.rsplit("|", 1)[1].strip() for line in errors.splitlines()}
    assert "usage: python train.py" in out and "omegaconf" in imported and "hydra" not in imported


def test_a_dry_run_of_the_real_program(tmp_path):
    code, out, errors, _ = process(str(ROOT / "train.py"), "experiment=demo", "dry_run=true", cwd=tmp_path)
    assert (code, errors) == (0, "")
    assert "train: smollm2 on demo (emotion), modalities=tav" in out
    assert everything_in(tmp_path) == []


def test_the_configuration_can_be_printed(command, capsys):
    register()
    _, said = command("--cfg", "job", "seed=3")
    assert said == ""
    assert "\nseed: 3\n" in capsys.readouterr().out
