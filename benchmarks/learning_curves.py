"""How often the intervals of affect.evaluation.learning_curves hold the truth, at nominal 95 %.

    python benchmarks/learning_curves.py            # 400 experiments a case: three minutes on one core
    python benchmarks/learning_curves.py --quick    # 100

Two power laws over seven sizes of which the truth is known: metric 0.60 and 0.64 with all 1,000 clips. `draw` is the
standard deviation of what the clips that were drawn for a size add to all of its runs, `seed` of what each run adds.
"""

import argparse
import sys
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from affect.evaluation.learning_curves import Curve, fit, saved

SHARES = np.array([0.05, 0.1, 0.2, 0.4, 0.6, 0.8, 1.0])
SLOW = Curve(full=0.60, scale=0.15, exponent=0.35, most=1000.0)
FAST = Curve(full=0.64, scale=0.15, exponent=0.30, most=1000.0)
CASES = [(3, 0.0, 0.01), (3, 0.0, 0.03), (3, 0.01, 0.01), (1, 0.0, 0.01), (5, 0.01, 0.02)]
"""Seeds, draw, seed."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true")
    experiments = 100 if parser.parse_args().quick else 400
    truth = SLOW.most - FAST.clips_for(SLOW.full)
    print("| seeds | draw | seed | curve at 300 clips | clips saved | no number |")
    print("|---:|---:|---:|---:|---:|---:|")
    for seeds, draw, seed in CASES:
        rng = np.random.default_rng(1)
        clips = np.repeat(1000 * SHARES, seeds)
        curves, differences, refused = [], [], 0
        for number in range(experiments):
            noise = np.repeat(rng.normal(0, draw, (2, len(SHARES))), seeds, axis=1) + rng.normal(
                0, seed, (2, len(clips))
            )
            slow, fast = (
                fit(clips, curve.at(clips) + own, seed=number) for curve, own in zip((SLOW, FAST), noise, strict=True)
            )
            [low], [high] = slow.band([300.0])
            curves.append(low <= SLOW.at(300.0) <= high)
            found = saved(slow, fast, float(clips.min()), ("slow", "fast"))
            if found.low is None or found.high is None:
                refused += 1
            else:
                differences.append(found.low <= truth <= found.high)
        cells = [f"{np.mean(curves):.1%}", f"{np.mean(differences):.1%}", f"{refused / experiments:.1%}"]
        print(f"| {seeds} | {draw:g} | {seed:g} | {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
