"""What is learnt, how, and what is read of it: which values go together, each refusal with its sentence."""

import re
from importlib import util

import pytest

from affect.config import Calibration, ConfigError, IntensityReadout, LoraMethod, Readout, Target
from affect.training import rules

RULES = [
    (
        ["evaluation=head"],
        "evaluation.readout=head, but finetuning.target=answer trains no head: set finetuning.target=head, or choose"
        " evaluation=score",
    ),
    (
        ["finetuning.target=head"],
        "finetuning.target=head teaches no words, but evaluation.readout=score reads them: choose evaluation=head, or"
        " finetuning.target=answer",
    ),
    (
        ["finetuning.target=head", "datasets.demo.tasks=[sentiment]", "evaluation.readout=head"],
        "finetuning.target=head teaches no words, but evaluation.intensity_readout=generate reads them",
    ),
    (
        ["finetuning.target=head", "evaluation=head", "prompting=cot"],
        "prompting.cot=true asks for reasons before the answer, but finetuning.target=head answers where the prompt"
        " ends",
    ),
    (
        ["evaluation.calibration=contextual", "evaluation.readout=generate"],
        "evaluation.calibration=contextual corrects the scores of labels, but evaluation.readout=generate has none: set"
        " evaluation.calibration=none",
    ),
    (
        ["evaluation.calibration=contextual", "datasets.demo.tasks=[sentiment]"],
        "evaluation.calibration=contextual corrects the scores of labels, but no task that is chosen is a"
        " classification",
    ),
    (
        ["evaluation.calibration=contextual", "evaluation.logit_adjustment=1"],
        "evaluation.calibration=contextual and evaluation.logit_adjustment=1 both take out what a model likes to say",
    ),
    (
        ["finetuning=full", "finetuning.four_bit=true"],
        "finetuning.four_bit=true keeps frozen weights in 4 bits, but finetuning.language=full trains them all",
    ),
    (
        ["finetuning=full", "finetuning.method=dora"],
        "finetuning.method=dora is a kind of LoRA, and no tower gets any: set finetuning.language=lora",
    ),
    (
        ["finetuning.language=frozen", "finetuning.language_learning_rate=1e-4"],
        "finetuning.language_learning_rate=0.0001 is the learning rate of a tower that finetuning.language=frozen does"
        " not train: set finetuning.language=lora (or full), or leave the learning rate out",
    ),
    (
        ["model=qwen2_5_omni_3b", "finetuning.audio_learning_rate=1e-4"],
        "finetuning.audio_learning_rate=0.0001 is the learning rate of a tower that finetuning.audio=auto does not",
    ),
    (["finetuning.projector_learning_rate=0"], "finetuning.projector_learning_rate=0.0 has to be above 0"),
    (["export_folder=here"], "export_folder=here is for `affect export`: leave it out here"),
]


@pytest.mark.parametrize(("words", "sentence"), RULES, ids=[" ".join(words) for words, _ in RULES])
def test_a_broken_rule_is_named(configure, words, sentence):
    with pytest.raises(ConfigError, match=re.escape(sentence)):
        configure(*words)


def test_a_model_that_is_not_fine_tuned_has_no_head(configure):
    sentence = "evaluation.readout=head reads a layer that finetuning.target=head trains, and a model that is not"
    with pytest.raises(ConfigError, match=re.escape(sentence)):
        configure("modalities=t", "evaluation=head", program="evaluate")
    with pytest.raises(ConfigError, match="there is nothing to export: name the folder of a training, run=outputs/…"):
        configure("modalities=t", program="export")


def test_constrained_after_reasons_is_refused_zero_shot(configure):
    words = ("modalities=t", "prompting=cot", "evaluation=constrained")
    with pytest.raises(ConfigError, match=r"but evaluation\.readout=constrained takes the answer before any are"):
        configure(*words, program="evaluate")


def test_four_bits_without_bitsandbytes_are_refused_with_how_to_get_it(configure, monkeypatch):
    monkeypatch.setattr(rules, "find_spec", lambda name: None)
    with pytest.raises(ConfigError, match=re.escape("not installed: pip install -e '.[qlora]', or set")):
        configure("finetuning=qlora")
    assert util.find_spec("torch") is not None


def test_what_goes_together(configure):
    cfg = configure("finetuning=pissa", "evaluation=constrained")
    assert (cfg.finetuning.method, cfg.evaluation.readout) == (LoraMethod.pissa, Readout.constrained)
    assert cfg.evaluation.intensity_readout is IntensityReadout.constrained
    cfg = configure("finetuning.target=head", "evaluation=head", "datasets.demo.tasks=[emotion,sentiment]")
    assert cfg.finetuning.target is Target.head
    # A head alone, on frozen states, is a probe.
    configure("finetuning.target=head", "evaluation=head", "finetuning.language=frozen", "modalities=t")
    assert configure("evaluation.calibration=contextual").evaluation.calibration is Calibration.contextual
    # Of a composed model these are new, and trained without being told.
    configure("finetuning.audio_learning_rate=1e-3", "finetuning.projector_learning_rate=1e-3")
