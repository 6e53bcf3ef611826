"""Shares of the datasets of a joint training in an epoch."""

from collections.abc import Mapping

from affect.config import FinetuningConfig, Mixing


def shares(sizes: Mapping[str, int], finetuning: FinetuningConfig) -> dict[str, float]:
    """The share of each dataset in the examples of an epoch, from its number n of training examples.

    proportional: n / N. temperature: n^(1/T), normalised, so that T = 1 is proportional and T → ∞ equal (Arivazhagan et
    al., Massively Multilingual Neural Machine Translation in the Wild, 2019, arXiv 1907.05019, section 4.1). equal: the
    same for each. weights: as they are given, normalised.

    >>> shares({"a": 900, "b": 100}, FinetuningConfig(name="x", mixing=Mixing.temperature, mixing_temperature=2))
    {'a': 0.75, 'b': 0.25}
    """
    exponents = {Mixing.proportional: 1.0, Mixing.temperature: 1 / finetuning.mixing_temperature, Mixing.equal: 0.0}
    if finetuning.mixing is Mixing.weights:
        weights = {name: finetuning.mixing_weights[name] for name in sizes}
    else:
        weights = {name: size ** exponents[finetuning.mixing] for name, size in sizes.items()}
    total = sum(weights.values())
    return {name: weight / total for name, weight in weights.items()}


def draws(sizes: Mapping[str, int], finetuning: FinetuningConfig) -> dict[str, int]:
    """The number of examples that an epoch draws of each dataset, at least one; they sum to the number of all training
    examples, so an epoch has as many steps as without mixing. Rounded by largest remainder, of equals the first.

    >>> draws({"a": 900, "b": 99}, FinetuningConfig(name="x", mixing=Mixing.equal))
    {'a': 500, 'b': 499}
    """
    total = sum(sizes.values())
    # Each has one for certain; the rest goes by what is left of its share.
    wanted = {name: max(0.0, share * total - 1) for name, share in shares(sizes, finetuning).items()}
    left = total - len(sizes)
    scale = left / sum(wanted.values()) if any(wanted.values()) else 0.0
    exact = {name: number * scale for name, number in wanted.items()}
    rounded = {name: int(number) for name, number in exact.items()}
    by_remainder = sorted(exact, key=lambda name: rounded[name] - exact[name])
    for name in by_remainder[: left - sum(rounded.values())]:
        rounded[name] += 1
    return {name: number + 1 for name, number in rounded.items()}
