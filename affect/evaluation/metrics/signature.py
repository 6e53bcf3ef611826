"""A signature beside every number, that says exactly what it is and what it stands on; the idea is sacreBLEU's (Post,
A Call for Clarity in Reporting BLEU Scores, WMT 2018)."""

from collections.abc import Mapping
from typing import Any


def signature(
    metric: str,
    *,
    counted: int,
    expected: int,
    used: int,
    scored: int,
    unreadable: int,
    policy: str,
    readout: str,
    reader: str,
    version: str,
    media: str | None = None,
    intervention: str | None = None,
    transcripts: str | None = None,
) -> str:
    """One line without spaces.

    `metric` is a plain name or dialect.metric. Of rows: `counted` by the metric under the policy, `expected` by the
    annotations of the split, `used` by the run (predicted), `scored` (with a gold label), `unreadable` among these.
    `media` is how clips were given to the model, a value of `affect.config.Media`; None where it was given none, or
    where that is not known. `intervention` is what was changed in the clips; None where nothing was. `transcripts` is
    the speech recogniser that made those of the clips; None where they are the dataset's own.

    >>> signature("mmsa_mosi.non0_acc2", counted=656, expected=686, used=686, scored=686, unreadable=3, policy="strict",
    ...           readout="generate", reader="lenient", version="0.1")
    'mmsa_mosi.non0_acc2|rows:656/686|used:686|scored:686|unreadable:3|policy:strict|readout:generate|reader:lenient|affect:0.1'
    """
    parts = {
        "rows": f"{counted}/{expected}",
        "used": used,
        "scored": scored,
        "unreadable": unreadable,
        "policy": policy,
        "readout": readout,
        "reader": reader,
        **({} if media is None else {"media": media}),
        **({} if intervention is None else {"intervention": intervention}),
        **({} if transcripts is None else {"transcripts": transcripts}),
        "affect": version,
    }
    return "|".join([metric, *(f"{key}:{value}" for key, value in parts.items())])


def signatures(
    numbers: Mapping[str, Any],
    *,
    expected: int,
    used: int,
    version: str,
    media: str | None = None,
    intervention: str | None = None,
    transcripts: str | None = None,
) -> dict[str, Any]:
    """The signatures of all numbers in a result of `metrics.compute`, where the numbers themselves stand: by policy and
    metric under `policies`, and by metric under `exact` and `lenient`, dialects included."""
    scored = numbers["n_scored"]

    def signed(reader: str, policy: str) -> dict[str, str]:
        return {
            metric: signature(
                metric,
                counted=counted,
                expected=expected,
                used=used,
                scored=scored,
                unreadable=scored - numbers[f"n_readable_{reader}"],
                policy=policy,
                readout=numbers["readout"],
                reader=reader,
                version=version,
                media=media,
                intervention=intervention,
                transcripts=transcripts,
            )
            for metric, counted in numbers["counted"][policy].items()
        }

    return {
        "policies": {policy: signed(numbers["policy_reader"], policy) for policy in numbers["counted"]},
        **{reader: signed(reader, "strict") for reader in ("exact", "lenient")},
    }
