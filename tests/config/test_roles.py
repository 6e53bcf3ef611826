"""Every key of the configuration either may change a number or does not, and the report groups by those that may."""

import copy
import dataclasses
import doctest
import os
from collections.abc import Iterator
from dataclasses import is_dataclass, replace
from functools import partial
from typing import Any, get_args, get_origin, get_type_hints

import pytest
from hydra import compose, initialize_config_dir
from made_runs import make_run
from omegaconf import OmegaConf

from affect.config import FAMILIES, BaselineConfig, Config, ModelConfig, fields, groups, roles, schema
from affect.config.fields import Phase
from affect.reports.collect import load
from affect.reports.settings import grouped_by, idle, settings
from affect.runs import identity

BASELINES = [schema for schema in FAMILIES.values() if issubclass(schema, BaselineConfig)]


def names(schema: type) -> set[str]:
    return {field.name for field in dataclasses.fields(schema)}


OF_MODELS = (
    *("family", "precision", "attention", "max_seconds", "num_frames", "frame_size", "language", "audio", "vision"),
    *("audio_tokens", "video_tokens", "encoder_width", "projector", "qformer_steps", "qformer_layers", "qformer_heads"),
    *(
        "audio_layer",
        "standardise_states",
        "state_dropout",
        "trust_remote_code",
        "checkpoint",
        "revision",
        "served",
        "video",
        "media",
    ),
    # Every setting that a baseline adds is one of the method itself.
    *sorted({key for schema in BASELINES for key in names(schema)} - names(ModelConfig)),
)
OF_FEATURES = (
    *("kind", "text", "text_layer", "audio", "audio_layer", "video", "video_layer", "max_steps", "file"),
    "standardise",
)
OF_TASKS = ("name", "kind", "labels", "low", "high", "step", "headline", "dialects", "question", "words", "none")
OF_DATASETS = (
    *("reader", "root", "language", "tasks", "options", "subset.train", "subset.val", "subset.test", "fraction"),
    *("subset_seed", "subset_classes", "exclude_overlap_with", "audio_track", "on_bad_rows", "cross_split_duplicates"),
    "transcribe",
    *(f"label_map.{key}" for key in ("task", "to", "neutral")),
    *(f"task_definitions.*.{key}" for key in OF_TASKS),
)
OF_PROMPTING = (
    *("system", "context", "transcript", "descriptions", "descriptions_without_media", "descriptions_position"),
    *("max_description_words", "audio_description", "video_description", "audio_video_description", "cot"),
    *("cot_instruction", "answer_marker", "fewshot.k", "fewshot.choice", "fewshot.seed", "fewshot.example"),
    *("fewshot.clip", "fewshot.options", "max_text_tokens", "too_long", "paraphrase", "options", "options_order"),
    *("options_seed", "letters_instruction", "numbers_instruction", "system_turn"),
)
OF_FINETUNING = (
    *(
        "language",
        "audio",
        "vision",
        "projector",
        "target",
        "head_fit",
        "head_strength",
        "method",
        "four_bit",
        "last_layers",
        "freeze_aligned",
        "rank",
        "alpha",
        "dropout",
        "targets",
    ),
    *("learning_rate", "new_learning_rate", "language_learning_rate", "audio_learning_rate", "vision_learning_rate"),
    *("projector_learning_rate", "weight_decay", "warmup", "alignment_epochs", "alignment_learning_rate", "sampling"),
    *("label_weights", "mixing", "mixing_temperature", "mixing_weights"),
)
OF_KNOWLEDGE = (
    *(
        "source",
        "also",
        "missing",
        "control",
        "control_split",
        "file_path",
        "cues_reference",
        "cues_form",
        "cues_audio",
        "cues_video",
    ),
    *("instruction_audio", "instruction_video", "instruction_audio_video", "by_aspects", "instruction_aspects"),
    *("aspects_audio", "aspects_video", "show_transcript", "instruction_transcript", "max_new_tokens", "temperature"),
    *("sampling_seed", "mllm_run", "server_model", "server_revision", "server_video", "server_num_frames"),
    *("server_frame_size", "server_max_seconds", *(f"mllm_models.*.{key}" for key in (*OF_MODELS, "modalities"))),
)
OF_EVALUATION = (
    *("split", "readout", "intensity_readout", "calibration", "length_normalised", "logit_adjustment", "reader"),
    *("max_new_tokens", "selection"),
)
OF_TRAINERS = (
    "accelerator",
    "max_epochs",
    "max_batches",
    "batch_size",
    "accumulate",
    "max_grad_norm",
    "devices",
    "compile",
)
MAY_CHANGE_NUMBERS = {
    *(
        "modalities",
        "label_space",
        "seed",
        *(f"model.{key}" for key in OF_MODELS),
        *(f"datasets.*.{key}" for key in OF_DATASETS),
    ),
    *(f"features.{key}" for key in OF_FEATURES),
    *(f"transcription.{key}" for key in ("model", "revision", "language", "max_seconds")),
    *(f"prompting.{key}" for key in OF_PROMPTING),
    *(f"finetuning.{key}" for key in OF_FINETUNING),
    *(f"knowledge.{key}" for key in OF_KNOWLEDGE),
    *(f"intervention.{key}" for key in ("name", "share", "snr", "seconds", "seed")),
    *(f"evaluation.{key}" for key in OF_EVALUATION),
    *(f"trainer.{key}" for key in OF_TRAINERS),
}


def keys(kind: Any, prefix: str = "") -> Iterator[str]:
    """Every key of a schema, of a model those of all families."""
    for each in dict.fromkeys(FAMILIES.values()) if kind is ModelConfig else [kind]:
        for name, hint in get_type_hints(each).items():
            inner = get_args(hint)[1] if get_origin(hint) is dict else hint
            if is_dataclass(inner):
                yield from keys(inner, f"{prefix}{name}.{'*.' if inner is not hint else ''}")
            else:
                yield f"{prefix}{name}"


def test_every_key_is_in_one_of_the_two_lists():
    known = set(keys(Config))
    assert not MAY_CHANGE_NUMBERS & set(roles.NEUTRAL)
    assert known - MAY_CHANGE_NUMBERS - set(roles.NEUTRAL) == set(), (
        "new keys: give their fields a role, or add them to the lists of this test"
    )
    assert (MAY_CHANGE_NUMBERS | set(roles.NEUTRAL)) - known == set(), "keys that are no longer there"


FOR_ONE_START = {
    *("resume", "resume_with_other_code", "dry_run", "run", "predictions", "clip", "against", "strict", "export_as"),
    *("export_folder", "retries", "reuse", "judge"),
}
PLACES = {
    "label_maps",
    "data_root",
    "cache_root",
    "output_root",
    "knowledge.store",
    "knowledge.file_path",
    "datasets.*.root",
}
SERVERS = {
    f"{prefix}{key}"
    for prefix in ("knowledge.server_", "model.", "knowledge.mllm_models.*.")
    for key in ("url", "key_variable", "concurrency", "timeout", "retries", "backoff")
}
CHECKS = {
    *("allow_unknown_overlap", "datasets.*.modalities", "datasets.*.speaker_independent", "model.modalities"),
    *("knowledge.modalities", "knowledge.make", "knowledge.splits", "knowledge.shard"),
    "transcription.splits",
}


def test_a_resumed_run_may_differ_in_what_changes_no_digit_of_it():
    assert set(roles.MAY_DIFFER_ON_RESUME) == FOR_ONE_START | PLACES | SERVERS | CHECKS | {
        *("model.gradient_checkpointing", "knowledge.mllm_models.*.gradient_checkpointing", "trainer.progress"),
        *("trainer.try_longest_batch", "trainer.num_workers", "trainer.prefetch", "trainer.clip_cache_gb"),
        *("trainer.encoder_cache_gb", "trainer.check_workers", "trainer.save_every_steps", "features.cache_gb"),
        "trainer.save_every_minutes",
    }


def test_an_evaluation_may_differ_from_the_training_of_its_model_in_what_is_not_part_of_that_model():
    locked = roles.groups_of(Phase.model, Phase.training)
    assert set(locked) == {"model", "features", "prompting", "finetuning", "knowledge"}
    free = {key for key in roles.MAY_DIFFER_IN_EVALUATION if key.split(".")[0] in locked}
    assert free == {key for key in PLACES | SERVERS | CHECKS if key.split(".")[0] in locked} | {
        *("knowledge.missing", "knowledge.control", "knowledge.control_split", "knowledge.mllm_batch_size"),
        *("model.gradient_checkpointing", "knowledge.mllm_models.*.gradient_checkpointing"),
        "features.cache_gb",
    }


def test_an_evaluation_uses_these_keys_of_the_trainer():
    used = set(roles.keys_of(Phase.evaluation)) - set(roles.NEUTRAL)
    assert {key for key in used if key.startswith(("trainer.", "finetuning."))} == {
        *("trainer.max_batches", "trainer.accelerator", "trainer.devices"),
    }


def test_the_keys_that_only_some_sources_or_readouts_use():
    asked = set(roles.keys_used_by("mllm"))
    assert asked == set(roles.keys_used_by("server"))
    assert {key.removeprefix("knowledge.") for key in asked} == {
        *(f"instruction_{name}" for name in ("audio", "video", "audio_video", "aspects", "transcript")),
        *("aspects_audio", "aspects_video", "by_aspects", "show_transcript", "max_new_tokens", "temperature"),
        "sampling_seed",
    }
    assert {key: roles.default_of(key) for key in roles.keys_used_by("score")} == {
        "evaluation.calibration": "none",
        "evaluation.length_normalised": False,
        "evaluation.logit_adjustment": 0.0,
    }
    assert roles.keys_used_by("generate") == ("evaluation.max_new_tokens",)


def test_the_examples_of_the_docstrings_are_true():
    for module in (fields, roles, schema):
        result = doctest.testmod(module)
        assert result.attempted > 0 and result.failed == 0


ALL_ON = (
    "experiment=cues",
    "knowledge.also=[mllm,server]",
    "knowledge.by_aspects=true",
    "knowledge.show_transcript=true",
    "knowledge.temperature=0.5",
    "knowledge.server_url=http://localhost:1/v1",
    "knowledge.server_model=x",
    "+model@knowledge.mllm_models.main=qwen2_5_omni_3b",
    "knowledge.control=shuffled",
    "prompting.fewshot.k=2",
    "prompting.cot=true",
    "evaluation=generate",
    "datasets.demo.subset.test=9",
    "modalities=tav",
)
"""Settings under which as many keys as possible have an effect."""

TOLD_ELSEWHERE = {
    # Runs that differ in these get no common table, or have no common column.
    *("evaluation.split", "evaluation.reader", "datasets.*.task_definitions.*.kind"),
    # What it decides is a setting of its own: the descriptions that are shown, and the control that is in force.
    *("prompting.descriptions_without_media", "knowledge.control_split"),
    # Of labels that are scored.
    *("evaluation.calibration", "evaluation.length_normalised", "evaluation.logit_adjustment"),
    "evaluation.intensity_readout",
    "datasets.*.reader",
    "datasets.*.root",  # which a manifest has, and no other dataset
    "datasets.*.task_definitions.*.dialects",  # what is reported
    "seed",
}


def changed(value: Any) -> Any:
    if isinstance(value, bool):
        return not value
    if isinstance(value, int | float):
        return value + 1
    return [*value, "more"] if isinstance(value, list) else f"{value}-other"


@pytest.fixture
def trained(configure, tmp_path, monkeypatch):
    monkeypatch.setattr("affect.cli.validate.conflicts", lambda *_: iter(()))
    monkeypatch.setattr(
        "affect.cli.checked.conflicts", lambda *_: iter(())
    )  # as many as possible, never mind which fit
    make = partial(make_run, configure, tmp_path / "out")
    [run], damaged = load([make("a", *ALL_ON)])
    assert damaged == []
    return run


def grouped(run):
    return grouped_by(settings(run, "demo.emotion"), idle(run))


def with_value(run, key: str, value: Any):
    plain = copy.deepcopy(dict(run.summary.config))
    *path, last = key.split(".")
    node = plain
    for part in path:
        node = node[part]
    node[last] = value
    summary = replace(run.summary, config=plain)
    return replace(run, summary=summary, training=plain)


def test_the_report_groups_by_what_may_change_a_number_and_by_nothing_else(trained):
    before = grouped(trained)
    idle = roles.unused(trained.summary.config)
    seen = set()
    for key, value in roles.leaves(trained.summary.config):
        pattern = roles._pattern(key)
        languages = pattern if pattern in set(keys(Config)) else pattern.rpartition(".")[0]  # prompting.system.en
        other = value[:1] if key == "prompting.descriptions" else changed(value)
        after = grouped(with_value(trained, key, other))
        if roles.is_one_of(key, roles.NEUTRAL) or idle(key):
            assert after == before, f"{key} changes no number, and separates rows"
        elif languages not in TOLD_ELSEWHERE and not key.startswith("datasets.demo.options."):
            other_task = ".task_definitions." in key and not key.startswith("datasets.demo.task_definitions.emotion.")
            assert (after != before) is not other_task, f"{key} may change a number, and does not separate rows"
        seen.add(languages)
    # Keys of families and sources that this run has not are left.
    assert len(seen) > 150


MATTERS = {
    "majority": {"model.draw"},
    "tfidf": {"model.analyser", "model.strength", "modalities", "datasets.demo.fraction"},
    "vectors": {"model.pooling", "features.text", "features.audio", "features.max_steps", "model.max_seconds"},
    "mult": {"model.learning_rate", "features.standardise", "trainer.max_epochs", "evaluation.selection"},
}
"""Some of what tells settings of a method apart."""


@pytest.mark.parametrize("model", MATTERS)
def test_what_only_language_models_read_parts_no_rows_of_other_methods(configure, tmp_path, model):
    modalities = "t" if model == "tfidf" else "ta"
    [run], _ = load([make_run(configure, tmp_path / "out", "a", f"model={model}", f"modalities={modalities}")])
    before = grouped(run)
    others = {key: changed(value) for key, value in roles.leaves(run.summary.config)}
    others["prompting.descriptions"] = ["audio"]
    apart = {key for key, other in others.items() if grouped(with_value(run, key, other)) != before}
    assert MATTERS[model] <= apart
    of_language = ("prompting.", "knowledge.", "datasets.demo.task_definitions.emotion.question")
    of_language += ("finetuning.learning_rate", "finetuning.rank", "finetuning.language", "evaluation.readout")
    assert not [key for key in apart if key.startswith(of_language)]
    video = {"features.video", "model.num_frames", "model.frame_size"}
    assert not apart & ({"evaluation.reader", "trainer.compile", "features.video"} if model == "mult" else video)
    if model != "mult":
        assert not apart & {"evaluation.selection", "trainer.max_epochs", "features.standardise"}
    if model in ("majority", "tfidf"):
        assert not [key for key in apart if key.startswith("features.")]
    assert ("model.max_seconds" in apart) is (model != "tfidf")  # where clips are read, longer ones are excluded


def test_the_name_of_a_group_parts_no_rows_where_its_values_are_the_same(configure, tmp_path):
    words = ("model=vectors", "modalities=ta")
    made = [make_run(configure, tmp_path / "out", name, *words, f"features.name={name}") for name in ("a", "b")]
    one, other = load(made)[0]
    assert grouped(one) == grouped(other)


@pytest.mark.parametrize(
    "word", ["knowledge.server_url=http://b:1/v1", "knowledge.server_concurrency=2", "strict=true"]
)
def test_two_seeds_that_differ_in_where_something_was_asked_are_one_row(trained, word):
    key, value = word.split("=", 1)
    other = with_value(with_value(trained, key, value), "seed", 2)
    assert grouped(trained) == grouped(other)


def test_runs_with_transcripts_of_other_recognisers_or_of_the_dataset_are_other_rows(trained):
    asked = with_value(trained, "datasets.demo.transcribe", "missing")

    def with_transcripts(**by):
        summary = replace(asked.summary, metrics={**asked.summary.metrics, **({"transcribed": by} if by else {})})
        return settings(replace(asked, summary=summary, training=None), "demo.emotion")

    one, other = with_transcripts(demo="whisper-1a"), with_transcripts(demo="whisper-2b")
    assert {key for key in one if one[key] != other[key]} == {"transcription.model"}
    # Where no transcript was missing, the run is as one that could not ask for any.
    untranscribed = replace(trained, training=None)
    assert (
        with_transcripts() == settings(untranscribed, "demo.emotion")
        and "transcription.model" not in with_transcripts()
    )


@pytest.mark.parametrize(
    ("words", "begins"),
    [
        ([], "f12f58d636f3"),
        (["experiment=meld_text", "prompting=fewshot"], "fbeea8f19f00"),
        (["prompting=knowledge", "model=tfidf"], "5cc8f40dcc30"),
    ],
)
def test_the_jobs_of_an_earlier_sweep_are_found_again(words, begins):
    """Hashes of before there were strengths of interventions, orders of options and balanced subsets (0f920b3). A new
    default of an old key is another run, and changes them."""
    schema.register()
    with initialize_config_dir(str(groups.CONF), version_base="1.3"):
        raw = compose("config", overrides=words)
    assert identity.composed_sha256(raw).startswith(begins)
    [dataset] = raw.datasets
    balanced = f"datasets.{dataset}.subset_classes"
    changes = {"intervention.snr": 3.0, "prompting.options": "letters", balanced: "balanced"}
    for key, value in changes.items():
        other = raw.copy()
        OmegaConf.update(other, key, value)
        assert not identity.composed_sha256(other).startswith(begins), key


@pytest.mark.parametrize(
    ("words", "idle", "in_use"),
    [
        (["prompting=plain"], ["prompting.fewshot.choice", "prompting.cot_instruction.en"], ["prompting.fewshot.k"]),
        (["knowledge=cues"], ["knowledge.server_model", "knowledge.max_new_tokens"], ["knowledge.cues_reference"]),
        (["finetuning=full"], ["finetuning.rank", "finetuning.method"], ["finetuning.learning_rate"]),
        (["finetuning=lora"], [], ["finetuning.rank"]),
        (["intervention=none"], ["intervention.share", "intervention.seed"], ["intervention.name"]),
        (["dataset=demo"], ["datasets.demo.subset_seed"], ["datasets.demo.fraction"]),
        (["datasets.demo.fraction=0.5"], [], ["datasets.demo.subset_seed"]),
    ],
)
def test_a_key_whose_subject_is_switched_off_is_not_in_use(configure, words, idle, in_use):
    plain = OmegaConf.to_container(OmegaConf.structured(configure(*words)), enum_to_str=True)
    unused = roles.unused(plain)
    assert all(map(unused, idle)) and not any(map(unused, in_use))


def test_places_are_absolute_and_names_of_the_hub_are_left_alone(configure, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "weights").mkdir()
    (tmp_path / "conv").mkdir()
    cfg = configure(
        "dataset=meld", "modalities=t", "data_root=d", "cache_root=c", "knowledge.store=s", "model.language=weights"
    )
    roles.make_absolute(cfg)
    assert (cfg.data_root, cfg.cache_root) == (str(tmp_path / "d"), str(tmp_path / "c"))
    assert cfg.datasets["meld"].root == str(tmp_path / "d" / "meld") and cfg.knowledge.store == str(tmp_path / "s")
    assert (cfg.model.language, cfg.model.audio) == (str(tmp_path / "weights"), "conv")
    cfg.cache_root = "~/c"
    roles.make_absolute(cfg)
    assert cfg.cache_root == os.path.expanduser("~/c")
    assert cfg.output_root == "outputs" and roles.kept(cfg).output_root == str(tmp_path / "outputs")
