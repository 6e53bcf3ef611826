"""Whether two settings are as good as equal, which a large p-value does not show."""

from dataclasses import dataclass

from scipy.special import stdtr

from affect.evaluation.significance.jackknife import Paired


@dataclass(frozen=True, slots=True, kw_only=True)
class Equivalence:
    p: float
    """Of a difference of `margin` or more, in either direction."""
    margin: float


def equivalent(found: Paired, margin: float) -> Equivalence:
    """Two one-sided t tests (Schuirmann, 1987): the sides are equivalent at a level of 5 % if p is below it, which is
    where the 90 % interval lies within -margin and margin. `margin`, in the metric's unit, has to be fixed before the
    numbers are seen. Raises ValueError where it is not above 0, and where `found` has no interval."""
    if not margin > 0:
        raise ValueError(f"the margin is {margin}: give the smallest difference that matters, above 0")
    mean, error = found.mean, found.error
    if mean is None or error is None:
        raise ValueError(f"there is no equivalence without an interval: {found.reason}")
    if error == 0 or found.freedom is None:
        return Equivalence(p=0.0 if abs(mean) < margin else 1.0, margin=margin)
    p = max(stdtr(found.freedom, (mean - margin) / error), stdtr(found.freedom, (-margin - mean) / error))
    return Equivalence(p=float(p), margin=margin)
