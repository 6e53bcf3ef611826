"""Writes the file that `wandb sweep` takes, from affect's own configuration and a file of conf/sweep or swept words:

    affect sweep wandb sweep=learning_rate experiment=meld_text --output sweep.yaml
    affect sweep wandb "finetuning.learning_rate=tag(log,interval(1e-5,1e-3))" finetuning.rank=4,16

Words are those of `python train.py -m`, and may also hold ranges: interval(a,b) uniformly, int(interval(a,b)) whole
numbers, tag(log,interval(a,b)) uniformly in the logarithm. Every point is checked first, of ranges the two ends.

The form of the file: https://docs.wandb.ai/guides/sweeps/define-sweep-configuration
"""

import argparse
import itertools
import math
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml
from hydra.core.override_parser.types import IntervalSweep, Override, Transformer
from omegaconf import OmegaConf

from affect.cli.checked import checked
from affect.config import ConfigError, LoggerKind
from affect.config.hydra_errors import REFUSALS, refusal
from affect.data.files import write_atomic
from affect.runs.sweep_points import Composer, check, check_deltas, values_of

METHODS = ("grid", "random", "bayes")

METRIC = {"name": "val/selection", "goal": "maximize"}
"""What a run logs after every epoch, and chooses its checkpoint by: the aggregate of the validation split's headline
metrics, brought to [0, 1] with 1 the best (evaluation.selection)."""

PROGRAM = "train.py"


def document(given: Sequence[str], method: str | None) -> dict[str, Any]:
    """What the file for these words says. Without a method it is grid, or random where there are ranges.

    Raises ConfigError for points that could not be run, all of them together, and for what Weights & Biases has no
    expression for; and what Hydra raises for words that no run could have.
    """
    check_deltas(given)
    composer = Composer(given)
    about_multiruns = [*composer.hydra_words, *(word for word in composer.words if word.startswith("launcher="))]
    if about_multiruns:
        raise ConfigError(
            f"{' '.join(about_multiruns)}: the runs are not started by Hydra's multirun: leave out what sets it up"
        )
    sweep = composer.whole.hydra.runtime.choices["sweep"]
    overrides = composer.overrides()
    overrides.pop("sweep", None)  # its values are the parameters
    swept = {key: override for key, override in overrides.items() if override.is_sweep_override()}
    fixed = [override.input_line for key, override in overrides.items() if key not in swept]
    if not swept:
        raise ConfigError("there is nothing to sweep: give sweep=…, or a key with several values, seed=1,2,3")
    if sweep is not None:
        _check_adds_nothing(composer, sweep, fixed)
    if "logger" not in overrides:
        fixed = ["logger=wandb", *fixed]
    parameters = {key: parameter(override) for key, override in swept.items()}
    _check_points(composer, parameters, fixed, given)

    ranges = [override.input_line for key, override in swept.items() if "values" not in parameters[key]]
    if method == "grid" and ranges:
        raise ConfigError(
            f"{' and '.join(ranges)}: a range has no end of values, and --method grid tries each: name single ones,"
            " choice(…), or take --method random or bayes"
        )
    logger = composer.compose(fixed).logger
    return {
        **({} if sweep is None else {"name": sweep}),
        "project": logger.project,
        **({} if logger.entity is None else {"entity": logger.entity}),
        "program": PROGRAM,
        "method": method or ("random" if ranges else "grid"),
        "metric": METRIC,
        "parameters": parameters,
        "command": ["${env}", "${interpreter}", "${program}", "${args_no_hyphens}", *fixed],
    }


def parameter(override: Override) -> dict[str, Any]:
    """A swept word as Weights & Biases has it: `values`, or `min`, `max` and `distribution`.

    Numbers and truth values stay what they are, so that a search can order them; all else is text in Hydra's grammar,
    quotes included, since the agent writes KEY=VALUE with the value as it stands.
    """
    if not override.is_interval_sweep():
        return {"values": [_value(value) for value in values_of(override)]}
    interval, word = override.value(), override.input_line
    assert isinstance(interval, IntervalSweep) and interval.start is not None and interval.end is not None
    if not (math.isfinite(interval.start) and math.isfinite(interval.end) and interval.start < interval.end):
        raise ConfigError(f"{word} is not a range: its first number has to be the smaller, and both finite")
    is_integer = isinstance(interval.start, int)
    if interval.tags - {"log"}:
        raise ConfigError(f"{word} has the tag {', '.join(sorted(interval.tags - {'log'}))}: only log is known here")
    if interval.tags and is_integer:
        raise ConfigError(
            f"{word}: Weights & Biases draws no whole numbers uniformly in the logarithm: name single ones,"
            f" {override.get_key_element()}=4,8,16,32"
        )
    if interval.tags and interval.start <= 0:
        raise ConfigError(f"{word}: a logarithm is taken of numbers above 0: begin the range there")
    distribution = "log_uniform_values" if interval.tags else "int_uniform" if is_integer else "uniform"
    return {"distribution": distribution, "min": interval.start, "max": interval.end}


def _value(value: Any) -> Any:
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)  # JSON, in which the server keeps it, has no such numbers
    return value if isinstance(value, bool | int | float) else Transformer.str(value)


def _check_adds_nothing(composer: Composer, sweep: str, fixed: Sequence[str]) -> None:
    """A run of the sweep is not given sweep=…, so what its file says beside the points would be lost."""
    without, with_it = (
        OmegaConf.to_container(composer.compose(words)) for words in (fixed, [f"sweep={sweep}", *fixed])
    )
    lost = [key for key, value in with_it.items() if key not in without or without[key] != value]
    if lost:
        raise ConfigError(
            f"conf/sweep/{sweep}.yaml sets {' and '.join(lost)} beside its points, which runs of Weights &"
            " Biases would not be told: move it to a file of conf/experiment, and give experiment=…"
        )


def _check_points(
    composer: Composer, parameters: dict[str, dict[str, Any]], fixed: list[str], given: Sequence[str]
) -> None:
    def sound(point: list[str]) -> None:
        cfg = checked(composer.compose(point), point, "train")
        if cfg.logger.kind is not LoggerKind.wandb:
            raise ConfigError(
                f"logger.kind={cfg.logger.kind.value} would log nothing to Weights & Biases: leave it out, or"
                " logger=wandb"
            )

    ends = ("min", "max")
    words = [
        [
            f"{key}={value}"
            for value in (parameter["values"] if "values" in parameter else [parameter[end] for end in ends])
        ]
        for key, parameter in parameters.items()
    ]
    check([[*point, *fixed] for point in itertools.product(*words)], sound, given)


def text(content: dict[str, Any], command: Sequence[str], file: str) -> str:
    """The YAML, with the command that made it and what to do with it."""
    return (
        f"# Made by: {shlex.join(['affect', 'sweep', 'wandb', *command])}\n"
        f"# Begin it with `wandb sweep {file}`, and take part in it, on any number of machines and in the folder of"
        " train.py,\n# with the `wandb agent …` that this prints; --count N ends an agent after N runs.\n"
        # Lines are not folded, so that a word of the command can be searched for as it is.
        + yaml.safe_dump(content, sort_keys=False, allow_unicode=True, width=math.inf)
    )


def main(arguments: list[str]) -> None:
    """Writes the file, or prints it."""
    parser = argparse.ArgumentParser(
        prog="affect sweep wandb", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("words", nargs="+", help="as of python train.py -m")
    parser.add_argument("--method", choices=METHODS, help="grid; with ranges random")
    parser.add_argument("--output", type=Path, help="the file to write; otherwise it is printed")
    options = parser.parse_intermixed_args(arguments)
    try:
        content = document(options.words, options.method)
    except (*REFUSALS, ValueError) as error:  # ValueError is a word Hydra refuses
        sys.exit(refusal(error, options.words))
    content_as_text = text(content, arguments, str(options.output or "FILE"))
    if options.output is None:
        print(content_as_text, end="")
        return
    try:
        write_atomic(options.output, content_as_text)
    except OSError as error:
        sys.exit(f"{options.output} cannot be written ({error.strerror}): name another --output")
