"""p-values of several comparisons, adjusted so that looking at many does not find what is not there. Those below the
level after adjusting are significant. None stands for a comparison without a p-value, which is counted in no family."""

from collections.abc import Callable, Sequence

import numpy as np


def holm(p: Sequence[float | None]) -> list[float | None]:
    """Holm, A simple sequentially rejective multiple test procedure, 1979: at a level of 5 %, a false finding anywhere
    in the table in at most 5 % of tables, however the comparisons depend on each other.

    >>> holm([0.01, None, 0.04, 0.03])
    [0.03, None, 0.06, 0.06]
    """

    def adjusted(values: np.ndarray) -> np.ndarray:
        order = np.argsort(values)
        result = np.empty(len(values))
        steps = values[order] * np.arange(len(values), 0, -1)
        result[order] = np.minimum(np.maximum.accumulate(steps), 1.0)
        return result

    return _over(p, adjusted)


def benjamini_hochberg(p: Sequence[float | None]) -> list[float | None]:
    """Benjamini and Hochberg, Controlling the false discovery rate, 1995: at a level of 5 %, at most 5 % of what is
    found is false, on average. Comparisons have to be independent or positively dependent, as those with one reference
    are.

    >>> benjamini_hochberg([0.01, None, 0.04, 0.03])
    [0.03, None, 0.04, 0.04]
    """
    from scipy.stats import false_discovery_control

    return _over(p, false_discovery_control)


def _over(p: Sequence[float | None], adjusted: Callable[[np.ndarray], np.ndarray]) -> list[float | None]:
    known = [place for place, value in enumerate(p) if value is not None]
    values = np.array([p[place] for place in known], dtype=np.float64)
    if not ((values >= 0) & (values <= 1)).all():
        place = next(place for place in known if not 0 <= p[place] <= 1)
        raise ValueError(f"p[{place}] is {p[place]}, which is no p-value: give numbers from 0 to 1, None for none")
    result: list[float | None] = [None] * len(p)
    if known:
        for place, value in zip(known, adjusted(values), strict=True):
            result[place] = float(value)
    return result
