"""The points of a multirun, all checked before the first job starts."""

import contextlib
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

from hydra import version
from hydra._internal.config_loader_impl import ConfigLoaderImpl, get_overrides_dirname
from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra._internal.utils import create_config_search_path, get_args_parser
from hydra.core.config_search_path import SearchPathQuery
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.core.utils import setup_globals
from hydra.errors import OverrideParseException
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf, open_dict
from omegaconf.errors import OmegaConfBaseException

from affect.config import Config, ConfigError, DataError, groups, register
from affect.config.hydra_errors import REFUSALS, explain

T = TypeVar("T")

SWEEPER = "hydra_plugins.affect.Search"
"""Hydra's name for the sweeper of hydra/sweeper=optuna, see `search`."""


def is_multirun(given: Sequence[str]) -> bool:
    """Whether Hydra takes the words of this command line for several runs."""
    arguments = get_args_parser().parse_args(list(given))
    return arguments.multirun or "hydra.mode=MULTIRUN" in arguments.overrides


class Composer:
    """Composes the configurations of one command line's jobs as Hydra does when their turn comes, but a thirty-fold
    quicker: files are put together once for every choice of them, and the other words are put into a copy by the
    function with which Hydra ends its own composing."""

    def __init__(self, given: Sequence[str]) -> None:
        """`given` are the words of a command line, with or without -m. Raises what Hydra raises for words that no job
        could have."""
        register()
        version.setbase("1.3")
        setup_globals()
        arguments = get_args_parser().parse_args(list(given))
        path = create_config_search_path(str(groups.CONF))
        if arguments.config_dir is not None:
            path.prepend(
                "command-line", f"file://{Path(arguments.config_dir).resolve()}", SearchPathQuery(provider="schema")
            )
        self.loader = ConfigLoaderImpl(path)
        self.name = arguments.config_name or "config"
        self.given = list(given)
        # Also Hydra's own composition of a multirun; in it, words with several values are left out.
        with _empty_choice_named():
            self.whole = self.loader.load_configuration(self.name, list(arguments.overrides), RunMode.MULTIRUN)
        # Not resolved: a word may hold ${…}.
        self.words: list[str] = OmegaConf.to_container(self.whole.hydra.overrides.task)
        self.hydra_words: list[str] = OmegaConf.to_container(self.whole.hydra.overrides.hydra)
        self._parsed: dict[str, tuple[Override, bool]] = {}
        self._composed: dict[tuple[str, ...], DictConfig | Exception] = {}

    @property
    def enumerable(self) -> bool:
        """Whether the points are known beforehand: those of Hydra's own sweeper are, those of an optimiser are not."""
        return self.whole.hydra.sweeper._target_.endswith(f".{BasicSweeper.__name__}")

    @property
    def searches(self) -> bool:
        """Whether they are chosen by `search`."""
        return self.whole.hydra.sweeper._target_ == SWEEPER

    @property
    def numbers_folders(self) -> bool:
        """Whether the folder of a job is named by its number among those that are run."""
        return re.search(r"hydra\.job\.(num|id)\b", str(_unresolved(self.whole.hydra.sweep))) is not None

    def overrides(self) -> dict[str, Override]:
        """What every key is given, with several values or with one; the command line wins over hydra.sweeper.params.

        Raises ConfigError for a word that has no value at all, OverrideParseException for one that cannot be read.
        """
        params = OmegaConf.to_container(self.whole.hydra.sweeper, resolve=True).get("params") or {}
        words = [*(f"{key}={values}" for key, values in params.items()), *self.words]
        with _empty_choice_named():
            parsed = OverridesParser.create(config_loader=self.loader).parse_overrides(words)
        return {override.get_key_element(): override for override in parsed}

    def points(self) -> list[list[str]]:
        """The jobs, each as the list of its words, in Hydra's order. Raises ConfigError where a word has no values, or
        a range of them that cannot be counted."""
        assert self.enumerable, "a sweeper that chooses its points as it goes"
        overrides = self.overrides()
        for override in overrides.values():
            if override.is_interval_sweep():
                raise ConfigError(
                    f"{override.input_line} is a range without end of values: a multirun takes single ones,"
                    f" {override.get_key_element()}=0.1,0.2; for ranges write a sweep of Weights & Biases,"
                    " affect sweep wandb"
                )
            if override.is_sweep_override():
                values_of(override)
        return BasicSweeper.split_arguments(list(overrides.values()), None)[0]

    def compose(self, point: Sequence[str]) -> DictConfig:
        """The configuration of one job, before it is typed and checked. Raises what Hydra raises."""
        parsed = [self._parse(word) for word in point]
        chosen = tuple(word for word, (_, chooses) in zip(point, parsed, strict=True) if chooses)
        if chosen not in self._composed:
            try:
                raw = self.loader.load_configuration(self.name, [*self.hydra_words, *chosen], RunMode.RUN)
                with open_dict(raw):
                    del raw["hydra"]
                self._composed[chosen] = raw
            except Exception as error:
                # Of a thousand points with the same unknown file each is told so, and it is looked for once.
                self._composed[chosen] = error
        composed = self._composed[chosen]
        if isinstance(composed, Exception):
            raise composed
        raw = composed.copy()
        ConfigLoaderImpl._apply_overrides_to_config([override for override, chooses in parsed if not chooses], raw)
        return raw

    def folder(self, number: int, point: Sequence[str], raw: DictConfig) -> Path | None:
        """The folder that Hydra will give to the job of a point, of which `raw` is what `compose` gave; None where its
        name holds something that only the running job knows."""
        hydra = self.whole.hydra
        how = hydra.job.config.override_dirname
        dirname = get_overrides_dirname(
            overrides=[self._parse(word)[0] for word in point],
            kv_sep=how.kv_sep,
            item_sep=how.item_sep,
            exclude_keys=how.exclude_keys,
        )
        composed = raw.copy()
        with open_dict(composed):
            job = _unresolved(hydra.job) | {"num": number, "id": number, "override_dirname": dirname}
            composed.hydra = {"sweep": _unresolved(hydra.sweep), "job": job}
            try:
                return Path(str(composed.hydra.sweep.dir)) / str(composed.hydra.sweep.subdir)
            except (OmegaConfBaseException, ValueError):
                return None

    def _parse(self, word: str) -> tuple[Override, bool]:
        """The word, and whether it chooses files (Hydra's own rule) and is not merely the value of a key."""
        if word not in self._parsed:
            [override] = OverridesParser.create().parse_overrides([word])
            is_group = self.loader.repository.group_exists(override.key_or_group)
            chooses = (is_group or override.package is not None) and not isinstance(override.value(), dict)
            self._parsed[word] = (override, chooses or override.is_hydra_override())
        return self._parsed[word]


def _unresolved(node: DictConfig) -> Any:
    return OmegaConf.to_container(node, resolve=False)


def quoted(text: str) -> str:
    r"""A text as a value of Hydra's grammar, whatever characters it has: backslashes count before a quote alone.

    >>> print(quoted("it's"), quoted("a\\b"), quoted("a\\"))
    'it\'s' 'a\b' 'a\\'
    """
    return "'" + re.sub(r"(\\*)('|$)", lambda end: end[1] * 2 + ("\\'" if end[2] else ""), text) + "'"


def values_of(override: Override) -> list[Any]:
    """The values of a swept word, as Hydra's grammar has them. Raises ConfigError where there are none."""
    assert override.input_line is not None
    try:
        values = list(override.sweep_iterator())
    except ValueError as error:  # range(1,9,0)
        raise ConfigError(f"{override.input_line} cannot be counted ({error}): correct its step") from error
    if not values:
        raise ConfigError(no_values(override.input_line))
    return values


@contextlib.contextmanager
def _empty_choice_named() -> Iterator[None]:
    """Hydra reports choice() without values as a syntax error; this gives the reason."""
    try:
        yield
    except OverrideParseException as error:
        if "empty choice" not in str(error):
            raise
        raise ConfigError(no_values(error.override)) from error


def no_values(word: str) -> str:
    key = word.split("=", 1)[0]
    return f"{word} has no values, so there is nothing to run: name at least one, {key}=choice(…)"


def distinct(all_points: Sequence[Sequence[str]]) -> list[list[str]]:
    """The words of every point that not all points have."""
    common = set.intersection(*map(set, all_points)) if len(all_points) > 1 else set()
    return [[word for word in point if word not in common] for point in all_points]


def check_own_folders(folders: Sequence[tuple[str | None, list[str]]], sweep: Path) -> None:
    """Raises ConfigError where two points, each given as its folder inside the multirun's and its words, have one."""
    first_with: dict[str, list[str]] = {}
    problems = []
    for folder, point in folders:
        if folder is None:
            continue
        first = first_with.setdefault(folder, point)
        if first is not point:
            one, other = (" ".join(words) or "the same words" for words in distinct([first, point]))
            problems.append(
                f"{sweep / folder} would be the run folder of {one} and of {other}: let hydra.sweep.subdir tell them"
                " apart, as hydra.sweep.subdir='${model.name}_${hydra.job.override_dirname}' does; its default is one"
                " folder for points that differ in nothing that changes a number"
            )
    if problems:
        raise ConfigError("\n".join(problems))


def check_different(configs: Sequence[Config], all_points: Sequence[list[str]]) -> None:
    """Raises ConfigError where two points, of which `made` are the configurations, are one run."""
    own_words = distinct(all_points)
    first_with: dict[str, int] = {}
    problems = []
    for number, cfg in enumerate(configs):
        # The order of the letters makes no difference.
        same = first_with.setdefault(repr(replace(cfg, modalities="".join(sorted(cfg.modalities)))), number)
        if same != number:
            one, other = (" ".join([f"#{n}", *own_words[n]]) for n in (same, number))
            words = " ".join(all_points[number])
            problems.append(f"{one} and {other} are the same run, made twice ({words}): leave one of them out")
    if problems:
        raise ConfigError("\n".join(problems))


def check_deltas(given: Sequence[str]) -> None:
    """Raises ConfigError where words name several files of conf/sweep, or one in another way than sweep=NAME, of which
    Hydra reads the points of a single one; and where they name an experiment twice."""
    experiments = [word for word in given if word.startswith("experiment=")]
    if len(experiments) > 1:
        names = ",".join(word.removeprefix("experiment=").strip("[]") for word in experiments)
        raise ConfigError(
            f"{' '.join(experiments)}: the last one alone would be taken: give one of them, or all as one list of"
            f" changes, experiment=[{names}]; with -m, experiment={names} is a run with each"
        )
    words = [word for word in given if re.match(r"[+~]*sweep(@[^=]*)?(=|$)", word)]
    plain = re.compile(r"sweep=(null|[\w.+-]+|'[\w.+-]+'|\"[\w.+-]+\")")
    if len(words) > 1 or any(not plain.fullmatch(word) for word in words):
        raise ConfigError(
            f"{' '.join(words)}: a multirun has one list of points, sweep=NAME: begin a multirun for each list, or give"
            " the keys of all with their values, seed=1,2 finetuning.rank=4,16"
        )


NAMED = 5
"""Number of points that a message names with their words; more are named by number."""


def check(all_points: Sequence[list[str]], sound: Callable[[list[str]], T], given: Sequence[str]) -> list[T]:
    """What `sound` gives for every point. Raises one ConfigError with every reason it refuses points for, each with the
    points; a reason that holds for all of them is none of theirs, and is said without."""
    results: list[T] = []
    reasons: dict[str, list[int]] = {}
    for number, point in enumerate(all_points):
        try:
            results.append(sound(point))
        except (*REFUSALS, ValueError) as error:  # ValueError is a word Hydra refuses
            text = str(error) if isinstance(error, (ConfigError, DataError)) else explain(error, given)
            for line in text.splitlines():
                reasons.setdefault(line, []).append(number)
    if reasons:
        own_words = distinct(all_points)
        lines = [_named(numbers, own_words) + line for line, numbers in reasons.items()]
        if any(len(numbers) < len(all_points) for numbers in reasons.values()):
            lines.append(f"none of the {len(all_points)} points was run: correct these, or leave them out")
        raise ConfigError("\n".join(lines))
    return results


def _named(numbers: Sequence[int], own_words: Sequence[Sequence[str]]) -> str:
    if len(numbers) == len(own_words):
        return ""
    shown = [" ".join([f"#{number}", *own_words[number]]) for number in numbers[:NAMED]]
    return f"{', '.join([*shown, *(f'#{number}' for number in numbers[NAMED:])])}: "
