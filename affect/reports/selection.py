"""Selecting runs by their settings: KEY=VALUE."""

from collections.abc import Collection, Sequence

from affect.config import ConfigError, near
from affect.reports.settings import Run, plain_settings


def facts(run: Run) -> dict[str, str]:
    """By key, all that `where` can ask about."""
    result = {"dataset": "+".join(run.summary.config["datasets"])}
    result |= plain_settings(run.summary.config)
    if run.counts:
        result["tuning"] = run.tuning
        if run.training is not None:
            result["training.datasets"] = "+".join(run.training["datasets"])
            result |= {f"training.{key}": value for key, value in plain_settings(run.training).items()}
    return result


def where(runs: Sequence[Run], conditions: Sequence[str]) -> list[Run]:
    """The runs of which all conditions `KEY=VALUE` are true; of several conditions on one key one has to be.

    A group stands for its name (evaluation=score). What an unfinished run was trained with is not known, so conditions
    on that leave it in. Raises ConfigError where a condition has no =, a key is in no run, or no run is left.
    """
    if not conditions:
        return list(runs)
    facts_of_runs = [facts(run) for run in runs]
    keys = {key for each in facts_of_runs for key in each}
    values_by_key: dict[str, list[str]] = {}
    for condition in conditions:
        key, value = parsed("--where", condition, keys, "The config.yaml of a run folder has all of them")
        values_by_key.setdefault(key, []).append(value)
    left = list(zip(runs, facts_of_runs, strict=True))
    for key, values in values_by_key.items():
        options = sorted({each[key] for _, each in left if key in each})
        left = [
            (run, each)
            for run, each in left
            if (key in each and any(same(each[key], value) for value in values))
            or (key not in each and not run.counts and key.startswith(("tuning", "training.")))
        ]
        if not left:
            raise ConfigError(
                f"no run has {' or '.join(f'{key}={value}' for value in values)}: choose of {', '.join(options)}"
            )
    return [run for run, _ in left]


def parsed(option: str, condition: str, keys: Collection[str], remedy: str) -> tuple[str, str]:
    """Key and value of `KEY=VALUE`, where a group stands for its name. Raises ConfigError, which ends with `remedy`,
    where the key is none of `keys`."""
    key, equals, value = condition.partition("=")
    if not equals:
        raise ConfigError(f"{option} {condition} has no =: write {option} KEY=VALUE, as in prompting=plain")
    match = next((match for match in (key, f"{key}.name", f"{key}.source") if match in keys), None)
    if match is None:
        groups = {full_key.rpartition(".")[0] for full_key in keys if full_key.endswith((".name", ".source"))}
        raise ConfigError(f"{option} {condition}: no run has the key '{key}'{near(key, groups | {*keys})} {remedy}")
    return match, value


def same(one: str, other: str) -> bool:
    """Whether two texts are one value."""
    try:
        return float(one) == float(other)  # 5e-4 is 0.0005
    except ValueError:
        return one.replace(", ", ",") == other.replace(", ", ",")
