"""Which values of the configuration go together: every rule that spans fields, in one place."""

import re
from collections.abc import Iterator

from affect.config import (
    DESCRIPTIONS,
    FAMILIES,
    MODALITIES,
    ClassSampling,
    ComposedConfig,
    Config,
    Control,
    DatasetConfig,
    IntensityReadout,
    LabelWeights,
    PromptingConfig,
    Readout,
    Source,
    Target,
    Tower,
    near,
    new_modalities,
)
from affect.learning_rules import method_conflicts, own_rates, readout_conflicts
from affect.prompts import descriptions_shown
from affect.record import SPLITS
from affect.tasks import HEADLINES, Kind
from affect.tasks import problems as task_problems


def conflicts(cfg: Config, program: str) -> Iterator[str]:
    """One sentence for each rule that is broken, naming both sides and what to do."""
    if FAMILIES.get(cfg.model.family) is not type(cfg.model):
        yield (
            f"model.family={cfg.model.family} does not fit model={cfg.model.name}, whose keys are those of"
            f" {type(cfg.model).__name__}: leave it out; the model's file names its family's schema,"
            " defaults: [/schema/composed@_here_, _self_]"
        )
    for key, name in [("model.name", cfg.model.name), *(("datasets", name) for name in cfg.datasets)]:
        if not re.fullmatch(r"[\w.+-]*\w[\w.+-]*", name):
            yield f"{key}={name} becomes part of a folder's name: make it of letters, digits and . _ + -"
    yield from _range_conflicts(cfg)
    if not cfg.datasets:
        yield "no dataset is chosen: give one or several, dataset=demo or dataset=[demo,meld]"
    if program != "score":  # which looks at no clip
        yield from _modality_conflicts(cfg, program)
    for name, dataset in cfg.datasets.items():
        yield from _dataset_conflicts(name, dataset, cfg.prompting)
    yield from _wording_conflicts(cfg.prompting)
    if program in ("train", "evaluate", "show"):  # the others build no prompt
        yield from _prompting_conflicts(cfg, program)
    yield from _imbalance_conflicts(cfg, program)
    yield from _knowledge_conflicts(cfg, program)
    if program in ("train", "evaluate"):
        yield from readout_conflicts(cfg, program)
    if program == "train" or (program in ("evaluate", "export") and cfg.run is not None):
        yield from method_conflicts(cfg)
    if program == "train":
        yield from _training_conflicts(cfg)
    if program == "evaluate" and cfg.run is None:
        for letter in sorted(set(cfg.modalities) & set(new_modalities(cfg.model))):
            yield (
                f"modalities={cfg.modalities} has {MODALITIES[letter]}, but the {MODALITIES[letter]} encoder of"
                f" model={cfg.model.name} is new and means nothing until it is trained: evaluate zero-shot with"
                f" modalities={''.join(m for m in cfg.modalities if m not in new_modalities(cfg.model)) or 't'}, or"
                " name a trained run=…"
            )
    if program != "show" and cfg.clip is not None:
        yield f"clip={cfg.clip} is for `python -m affect.show`: leave it out here"
    if program != "score" and cfg.predictions is not None:
        yield f"predictions={cfg.predictions} is for `python -m affect.score`: leave it out here"
    if program != "train" and cfg.resume is not None:
        yield f"resume={cfg.resume} is for train.py: name the run to evaluate with run={cfg.resume}"
    if cfg.resume_with_other_code and cfg.resume is None:
        yield "resume_with_other_code=true says something about resume=…, which is not given: leave it out"
    if program == "train" and cfg.run is not None:
        yield f"run={cfg.run} is for evaluate.py and affect.show: train.py makes a run folder of its own"
    if program == "doctor" and cfg.run is not None:
        yield f"run={cfg.run} is for evaluate.py and affect.show: the doctor looks at data alone, leave it out"
    if program != "doctor" and cfg.strict:
        yield "strict=true is for `python -m affect.doctor`: leave it out here"
    if program == "export" and cfg.run is None:
        yield "there is nothing to export: name the folder of a training, run=outputs/…"
    if program != "export" and cfg.export_folder is not None:
        yield f"export_folder={cfg.export_folder} is for `python -m affect.export`: leave it out here"


def _range_conflicts(cfg: Config) -> Iterator[str]:
    at_least_one = {
        "trainer.max_epochs": cfg.trainer.max_epochs,
        "trainer.batch_size": cfg.trainer.batch_size,
        "trainer.accumulate": cfg.trainer.accumulate,
        "trainer.check_workers": cfg.trainer.check_workers,
        "trainer.log_every": cfg.trainer.log_every,
        "trainer.devices": cfg.trainer.devices,
        "evaluation.batch_size": cfg.evaluation.batch_size,
        "evaluation.max_new_tokens": cfg.evaluation.max_new_tokens,
        "finetuning.rank": cfg.finetuning.rank,
        "finetuning.alpha": cfg.finetuning.alpha,
        "model.num_frames": cfg.model.num_frames,
        "model.frame_size": cfg.model.frame_size,
        "prompting.max_text_tokens": cfg.prompting.max_text_tokens,
    }
    above_zero = {
        "finetuning.learning_rate": cfg.finetuning.learning_rate,
        "finetuning.new_learning_rate": cfg.finetuning.new_learning_rate,
        "finetuning.alignment_learning_rate": cfg.finetuning.alignment_learning_rate,
        **{key: rate for key, (_, rate) in own_rates(cfg).items()},
        "trainer.max_grad_norm": cfg.trainer.max_grad_norm,
        "model.max_seconds": cfg.model.max_seconds,
    }
    not_below_zero = {
        "trainer.num_workers": cfg.trainer.num_workers,
        "logger.num_samples": cfg.logger.num_samples,
        "finetuning.weight_decay": cfg.finetuning.weight_decay,
        "finetuning.alignment_epochs": cfg.finetuning.alignment_epochs,
        "evaluation.logit_adjustment": cfg.evaluation.logit_adjustment,
        "seed": cfg.seed,
    }
    shares = {"finetuning.dropout": cfg.finetuning.dropout, "finetuning.warmup": cfg.finetuning.warmup}
    if isinstance(cfg.model, ComposedConfig):
        at_least_one |= {
            "model.audio_tokens": cfg.model.audio_tokens,
            "model.video_tokens": cfg.model.video_tokens,
            "model.encoder_width": cfg.model.encoder_width,
        }
    for name, dataset in cfg.datasets.items():
        for split in SPLITS:
            count = getattr(dataset.subset, split)
            if count is not None:
                at_least_one[f"datasets.{name}.subset.{split}"] = count
    yield from (f"{key}={value} has to be at least 1" for key, value in at_least_one.items() if value < 1)
    yield from (f"{key}={value} has to be above 0" for key, value in above_zero.items() if not value > 0)
    yield from (f"{key}={value} must not be below 0" for key, value in not_below_zero.items() if not value >= 0)
    yield from (
        f"{key}={value} is a share: from 0 up to, but without, 1" for key, value in shares.items() if not 0 <= value < 1
    )
    if cfg.trainer.max_batches is not None and cfg.trainer.max_batches < 1:
        yield f"trainer.max_batches={cfg.trainer.max_batches} has to be at least 1, or null for all"
    for key, value in (
        ("save_every_steps", cfg.trainer.save_every_steps),
        ("save_every_minutes", cfg.trainer.save_every_minutes),
    ):
        if value is not None and not value > 0:
            yield f"trainer.{key}={value} has to be above 0, or null for never"
    if cfg.evaluation.split not in SPLITS:
        yield (
            f"evaluation.split={cfg.evaluation.split} is not a split{near(cfg.evaluation.split, SPLITS)} Splits:"
            f" {', '.join(SPLITS)}"
        )


def _modality_conflicts(cfg: Config, program: str) -> Iterator[str]:
    letters = cfg.modalities
    if not letters or set(letters) - set(MODALITIES) or len(set(letters)) != len(letters):
        yield (
            f"modalities={letters} has to be made of the letters t, a, v, each at most once: t, a, v, ta, tv, av or tav"
        )
        return
    if program in ("doctor", "knowledge"):  # no model is given them, and what a dataset does not have is not looked at
        return
    model = cfg.model
    for letter in letters:
        if letter not in model.modalities:
            yield (
                f"modalities={letters} has {MODALITIES[letter]}, but model={model.name} takes only"
                f" {_spell(model.modalities)}: choose another model, or leave {letter} out"
            )
        for name, dataset in cfg.datasets.items():
            if letter not in dataset.modalities:
                yield (
                    f"modalities={letters} has {MODALITIES[letter]}, but dataset={name} has only"
                    f" {_spell(dataset.modalities)}: leave {letter} out"
                )
    if isinstance(model, ComposedConfig):
        for letter, key, encoder in (("a", "audio", model.audio), ("v", "vision", model.vision)):
            if letter in letters and letter in model.modalities and encoder is None:
                yield (
                    f"modalities={letters} has {MODALITIES[letter]}, but model.{key}=null: name an encoder (conv), or"
                    f" leave {letter} out"
                )


def _spell(letters: str) -> str:
    return " and ".join(MODALITIES.get(letter, letter) for letter in letters)


def _dataset_conflicts(name: str, dataset: DatasetConfig, prompting: PromptingConfig) -> Iterator[str]:
    defined = dataset.task_definitions
    if not dataset.tasks:
        yield (
            f"datasets.{name}.tasks is empty: choose from"
            f" {', '.join(defined) or 'task_definitions, which is empty too'}"
        )
    for task_name in dataset.tasks:
        if task_name not in defined:
            yield (
                f"datasets.{name}.tasks names '{task_name}', which dataset={name} does not have"
                f"{near(task_name, defined)} Its tasks: {', '.join(defined)}"
            )
            continue
        task = defined[task_name]
        yield from (f"datasets.{name}: {problem}" for problem in task_problems(task))
        if task.headline not in HEADLINES[task.kind]:
            yield (
                f"datasets.{name}: task '{task_name}' ({task.kind.value}) has headline={task.headline}"
                f"{near(task.headline, HEADLINES[task.kind])} Metrics of that kind: {', '.join(HEADLINES[task.kind])}"
            )
        if task.question and dataset.language not in task.question:
            yield (
                f"datasets.{name}: task '{task_name}' has no question in language '{dataset.language}': add"
                f" question.{dataset.language}"
            )
    for key, wording in (
        ("system", prompting.system),
        ("transcript", prompting.transcript),
        ("context", prompting.context),
    ):
        if dataset.language not in wording:
            yield (
                f"dataset={name} is in language '{dataset.language}', but prompting={prompting.name} has no {key} in"
                f" it: add prompting.{key}.{dataset.language}"
            )


def _wording_conflicts(prompting: PromptingConfig) -> Iterator[str]:
    for key, wording, placeholders in (
        ("transcript", prompting.transcript, ("text",)),
        ("context", prompting.context, ("turns",)),
        ("audio_description", prompting.audio_description, ("text",)),
        ("video_description", prompting.video_description, ("text",)),
        ("audio_video_description", prompting.audio_video_description, ("text",)),
        ("cot_instruction", prompting.cot_instruction, ("marker",)),
        ("fewshot.example", prompting.fewshot.example, ("clip", "answer")),
    ):
        for language, template in wording.items():
            try:
                filled = template.format(**{name: f"\0{name}\0" for name in placeholders})
            except (KeyError, IndexError, ValueError) as error:
                options = " or ".join(f"{{{name}}}" for name in placeholders)
                yield f"prompting.{key}.{language} has a placeholder that is not {options}: {error}"
                continue
            for name in placeholders:
                if f"\0{name}\0" not in filled:
                    yield (
                        f"prompting.{key}.{language} lacks its placeholder {{{name}}}: what it should show would be"
                        " left out"
                    )
    for language, marker in prompting.answer_marker.items():
        if not marker.strip(" :\uff1a"):
            yield (
                f"prompting.answer_marker.{language}='{marker}' has no word by which the final answer could be found:"
                " give it one, Answer:"
            )


LEAST_COT_TOKENS = 32
"""Below that not even two sentences of reasons fit before the answer."""


def _prompting_conflicts(cfg: Config, program: str) -> Iterator[str]:
    prompting, names = cfg.prompting, cfg.prompting.descriptions
    unknown = [name for name in names if name not in DESCRIPTIONS]
    for name in unknown:
        yield (
            f"prompting.descriptions names '{name}', which cannot be described{near(name, DESCRIPTIONS)} Choose from"
            f" {', '.join(DESCRIPTIONS)}"
        )
    if unknown:
        return
    if len(set(names)) < len(names):
        yield f"prompting.descriptions=[{','.join(names)}] names one twice: name each once"
    shown = descriptions_shown(prompting, cfg.modalities)
    if names and not shown:
        yield (
            f"prompting.descriptions=[{','.join(names)}] shows nothing, since modalities={cfg.modalities} leaves out"
            " what they tell of: set prompting.descriptions_without_media=true to tell it in words all the same, or"
            " prompting=plain"
        )
    # Without any description the control itself is refused.
    if cfg.knowledge.control is Control.mismatched_modality and names and not {"audio", "video"} <= set(shown):
        yield (
            "knowledge.control=mismatched_modality exchanges the descriptions of audio and video, but with"
            f" modalities={cfg.modalities} the prompt shows {' and '.join(shown) or 'neither'}: set"
            " prompting.descriptions=[audio,video] with both modalities, or choose another control"
        )
    if prompting.max_description_words is not None and prompting.max_description_words < 1:
        yield (
            f"prompting.max_description_words={prompting.max_description_words} has to be at least 1, or null for all:"
            " no description at all is prompting=plain"
        )
    used = {f"{name}_description": getattr(prompting, f"{name}_description") for name in shown}
    if prompting.cot:
        used |= {"cot_instruction": prompting.cot_instruction, "answer_marker": prompting.answer_marker}
    if prompting.fewshot.k:
        used |= {"fewshot.example": prompting.fewshot.example, "fewshot.clip": prompting.fewshot.clip}
    for name, dataset in cfg.datasets.items():
        for key, wording in used.items():
            if dataset.language not in wording:
                yield (
                    f"dataset={name} is in language '{dataset.language}', but prompting={prompting.name} has no {key}"
                    f" in it: add prompting.{key}.{dataset.language}"
                )
    yield from _fewshot_conflicts(cfg, shown)
    if prompting.cot and program == "evaluate" and cfg.run is None:
        yield from _cot_conflicts(cfg)


def _fewshot_conflicts(cfg: Config, shown: list[str]) -> Iterator[str]:
    fewshot = cfg.prompting.fewshot
    for key, value in (("k", fewshot.k), ("seed", fewshot.seed)):
        if value < 0:
            yield f"prompting.fewshot.{key}={value} must not be below 0"
    if fewshot.k > 0 and "t" not in cfg.modalities and not shown:
        yield (
            f"prompting.fewshot.k={fewshot.k} shows training examples as text, but modalities={cfg.modalities} leaves"
            " their transcripts out and no description is shown: add t to modalities, or set prompting.fewshot.k=0"
        )
    if fewshot.k > 0 and cfg.evaluation.split == "train":
        yield (
            f"prompting.fewshot.k={fewshot.k} takes its examples from the training split, but evaluation.split=train is"
            " that split: evaluate on another, or set prompting.fewshot.k=0"
        )


def _cot_conflicts(cfg: Config) -> Iterator[str]:
    """Only of a model that is not fine-tuned: one that is has learnt to answer at once, and that can be scored."""
    kinds = {
        dataset.task_definitions[name].kind
        for dataset in cfg.datasets.values()
        for name in dataset.tasks
        if name in dataset.task_definitions
    }
    scored = []
    at_once = (Readout.score, Readout.constrained)
    if (Kind.classification in kinds and cfg.evaluation.readout in at_once) or (
        Kind.multi_label in kinds and cfg.evaluation.readout is Readout.constrained
    ):
        scored.append(f"evaluation.readout={cfg.evaluation.readout.value}")
    if Kind.intensity in kinds and cfg.evaluation.intensity_readout in (
        IntensityReadout.expectation,
        IntensityReadout.constrained,
    ):
        scored.append(f"evaluation.intensity_readout={cfg.evaluation.intensity_readout.value}")
    for readout in scored:
        yield (
            f"prompting.cot=true asks for reasons before the answer, but {readout} takes the answer before any are"
            f" written: set {readout.split('=')[0]}=generate and evaluation.max_new_tokens=256, or prompting.cot=false"
        )
    if not scored and cfg.evaluation.max_new_tokens < LEAST_COT_TOKENS:
        yield (
            "prompting.cot=true asks for reasons before the answer, but"
            f" evaluation.max_new_tokens={cfg.evaluation.max_new_tokens} ends before both are written: set"
            " evaluation.max_new_tokens=256, or prompting.cot=false"
        )


def _imbalance_conflicts(cfg: Config, program: str) -> Iterator[str]:
    tau, readout = cfg.evaluation.logit_adjustment, cfg.evaluation.readout
    sampling, weights = cfg.finetuning.sampling, cfg.finetuning.label_weights
    asked = {}
    if tau:
        asked[f"evaluation.logit_adjustment={tau:g}"] = "evaluation.logit_adjustment=0"
    if program == "train" and sampling is not ClassSampling.natural:
        asked[f"finetuning.sampling={sampling.value}"] = "finetuning.sampling=natural"
    if program == "train" and weights is not LabelWeights.none:
        asked[f"finetuning.label_weights={weights.value}"] = "finetuning.label_weights=none"
    kinds = {
        dataset.task_definitions[name].kind
        for dataset in cfg.datasets.values()
        for name in dataset.tasks
        if name in dataset.task_definitions
    }
    if kinds and Kind.classification not in kinds:
        for key, off in asked.items():
            yield (
                f"{key} goes by classes, but no task of {' and '.join(cfg.datasets)} that is chosen is a"
                f" classification: set {off}, or choose another task"
            )
    if tau and readout is not Readout.score:
        yield (
            f"evaluation.logit_adjustment={tau:g} corrects the scores of labels, but evaluation.readout={readout.value}"
            " has none: set evaluation.readout=score, or evaluation.logit_adjustment=0"
        )
    # Both by square roots are 1 / n together; anything more turns rare classes into the frequent ones.
    both = sampling is not ClassSampling.natural and weights is not LabelWeights.none
    if program == "train" and both and (sampling is ClassSampling.balanced or weights is LabelWeights.balanced):
        yield (
            f"finetuning.sampling={sampling.value} and finetuning.label_weights={weights.value} make up for the same"
            " imbalance, so that rare classes would count for more than frequent ones: set one of them to its"
            " default (natural, none), or both to square_root"
        )


def _knowledge_conflicts(cfg: Config, program: str) -> Iterator[str]:
    knowledge, prompting = cfg.knowledge, cfg.prompting
    sources = [knowledge.source, *knowledge.also]
    named = "+".join(source.value for source in sources)
    for name in knowledge.modalities:
        if name not in DESCRIPTIONS:
            yield (
                f"knowledge.modalities has '{name}', which cannot be described{near(name, DESCRIPTIONS)} Choose from"
                f" {', '.join(DESCRIPTIONS)}"
            )
    if not knowledge.modalities and knowledge.source is not Source.none:
        yield f"knowledge.modalities is empty: choose from {', '.join(DESCRIPTIONS)}"
    if Source.none in knowledge.also or (knowledge.source is Source.none and knowledge.also):
        yield (
            f"knowledge.also=[{','.join(s.value for s in knowledge.also)}] adds to knowledge={knowledge.source.value}:"
            " name sources in both"
        )
    if len(set(sources)) < len(sources):
        yield f"knowledge={named} names a source twice: name each once, in knowledge or in knowledge.also"
    if Source.file in sources and knowledge.file_path is None:
        yield "knowledge=file without a file: name it, knowledge.file_path=descriptions.jsonl"
    if Source.file not in sources and knowledge.file_path is not None:
        yield (
            f"knowledge.file_path={knowledge.file_path} is read by knowledge=file, but knowledge={named}: leave it out,"
            " or choose knowledge=file"
        )
    for split in knowledge.splits:
        if split not in SPLITS:
            yield f"knowledge.splits has '{split}'{near(split, SPLITS)} Splits: {', '.join(SPLITS)}"
    if program == "knowledge":
        if knowledge.source is Source.none:
            yield "knowledge=none describes nothing: choose a source, knowledge=cues"
        if not knowledge.splits:
            yield f"knowledge.splits is empty: choose from {', '.join(SPLITS)}"
        if knowledge.shard is not None:
            match = re.fullmatch(r"(\d+)/(\d+)", knowledge.shard)
            if match is None or not int(match[1]) < int(match[2]):
                yield (
                    f"knowledge.shard={knowledge.shard} is not a share: give i/n with i from 0 to n - 1,"
                    " knowledge.shard=0/4 to knowledge.shard=3/4"
                )
        return
    if knowledge.shard is not None:
        yield f"knowledge.shard={knowledge.shard} is for `python -m affect.knowledge`: leave it out here"
    if program not in ("train", "evaluate", "show"):
        return
    if knowledge.control is not Control.none and not prompting.descriptions:
        yield (
            f"knowledge.control={knowledge.control.value} changes descriptions, but prompting={prompting.name} shows"
            " none: choose prompting=knowledge, or leave the control out"
        )
    if prompting.descriptions and knowledge.source is Source.none:
        yield (
            f"prompting={prompting.name} shows descriptions of {' and '.join(prompting.descriptions)}, but"
            " knowledge=none: choose who makes them, knowledge=cues, or prompting=plain"
        )
    elif undescribed := [name for name in prompting.descriptions if name not in knowledge.modalities]:
        yield (
            f"prompting={prompting.name} shows descriptions of {' and '.join(undescribed)}, but"
            f" knowledge.modalities={','.join(knowledge.modalities)}: add them there, or take them out of"
            " prompting.descriptions"
        )
    if prompting.descriptions_without_media:  # otherwise what a dataset lacks is refused with its modality
        for name, dataset in cfg.datasets.items():
            for of in prompting.descriptions:
                if not set(DESCRIPTIONS.get(of, "")) <= set(dataset.modalities):
                    yield (
                        f"prompting.descriptions has {of}, but dataset={name} has only {_spell(dataset.modalities)}:"
                        " take it out"
                    )


def _training_conflicts(cfg: Config) -> Iterator[str]:
    modes = cfg.finetuning
    new = new_modalities(cfg.model)
    used = [tower for letter, tower in (("a", "audio"), ("v", "vision")) if letter in cfg.modalities]
    if isinstance(cfg.model, ComposedConfig):
        for tower, encoder in (("audio", cfg.model.audio), ("vision", cfg.model.vision)):
            mode = getattr(modes, tower)
            if tower in used and encoder == "conv" and mode in (Tower.frozen, Tower.lora):
                yield (
                    f"finetuning.{tower}={mode.value}, but model.{tower}=conv is new and has to be trained whole:"
                    f" finetuning.{tower}=full (or auto)"
                )
        if set(new) & set(cfg.modalities) and modes.projector in (Tower.frozen, Tower.lora):
            yield (
                f"finetuning.projector={modes.projector.value}, but the projector of model={cfg.model.name} is new and"
                " has to be trained whole: finetuning.projector=full (or auto)"
            )
    trained = [modes.language, *(getattr(modes, tower) for tower in used), *([modes.projector] if used else [])]
    if modes.target is Target.head:
        return  # which is trained whatever the towers are
    if all(mode is Tower.frozen or (mode is Tower.auto and not set(new) & set(cfg.modalities)) for mode in trained):
        yield (
            f"finetuning={modes.name} trains nothing with modalities={cfg.modalities}: set"
            " finetuning.language=lora (or full)"
        )
