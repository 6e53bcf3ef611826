"""The demo corpus: synthetic clips that affect makes itself. See affect/corpus.py for what they are and are not good for.

    demo/
      settings.json        {"version": 1, "settings": {…}}
      index.csv
      clips/train_0001.mp4 …

A row of index.csv:

    id,split,speaker,clip,text,sentiment,emotion,humour
    demo/train/0001,train,speaker01,clips/train_0001.mp4,"I read about my exam, okay, that is all.",0.0,neutral,serious
"""

import csv
import json
from collections.abc import Iterator
from pathlib import Path

from affect.record import SPLITS, DataError, Record

VERSION = 1
"""Version of the corpus that is read; to be raised with every change of the generator that changes clips or labels."""

COLUMNS = ["id", "split", "speaker", "clip", "text", "sentiment", "emotion", "humour"]
EMOTIONS = frozenset({"neutral", "joy", "sadness", "anger", "surprise", "disgust"})
HUMOUR = frozenset({"humorous", "serious"})


def prepare(root: Path) -> None:
    """Makes the corpus with its default settings where there is none yet; about half a minute, once."""
    if not root.exists():
        # Here, not above: reading a corpus must not need the libraries that render one.
        from affect.corpus import Settings, generate

        generate(root, Settings())


def records(root: Path, split: str) -> Iterator[Record]:
    """Raises DataError where the corpus is missing, of another version, incomplete or edited."""
    assert split in SPLITS
    root = Path(root)
    again = f"delete the folder {root}, and it is made anew on next use"
    if not root.is_dir():
        raise DataError(f"there is no demo corpus in {root}: make it with `python -m affect.corpus --root {root}`")
    try:
        version = json.loads((root / "settings.json").read_text(encoding="utf-8"))["version"]
        with open(root / "index.csv", encoding="utf-8", newline="") as file:
            table = csv.DictReader(file)
            rows = list(table)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(f"{root} is not a whole demo corpus ({error}): {again}") from error
    if version != VERSION:
        raise DataError(f"the demo corpus in {root} is of version {version} and this is affect for version {VERSION}: {again}")
    if table.fieldnames != COLUMNS:
        raise DataError(f"{root / 'index.csv'} has the columns {table.fieldnames} instead of {COLUMNS}: {again}")

    problems = []
    # The clips of all splits, whichever is asked for: half a corpus is found out before the hours of training, not after.
    there = {path.name for path in (root / "clips").glob("*.mp4")}
    for number, row in enumerate(rows, start=2):  # as an editor counts; no line of the corpus holds a line break
        if Path(row["clip"]).name not in there:
            problems.append(f"row {number}: the clip {row['clip']} is missing")
        if row["split"] not in SPLITS or row["emotion"] not in EMOTIONS or row["humour"] not in HUMOUR:
            problems.append(f"row {number}: no such split, emotion or humour: {row['split']}, {row['emotion']}, {row['humour']}")
        if not _is_sentiment(row["sentiment"]):
            problems.append(f"row {number}: the sentiment {row['sentiment']!r} is not a number from -3 to 3")
    if problems:
        # Ten are enough to see what happened; the remedy is the same for all.
        more = f"\n… and {len(problems) - 10} more" if len(problems) > 10 else ""
        raise DataError(f"{root / 'index.csv'} and its clips do not fit: {again}\n" + "\n".join(problems[:10]) + more)
    for number, row in enumerate(rows, start=2):
        if row["split"] == split:
            yield Record(
                id=row["id"],
                dataset="demo",
                split=split,
                text=row["text"],
                labels={"sentiment": float(row["sentiment"]), "emotion": row["emotion"], "humour": row["humour"]},
                speaker=row["speaker"],
                group=row["speaker"],
                media=str(root / row["clip"]),
                source=f"index.csv, row {number}",
            )


def _is_sentiment(text: str) -> bool:
    try:
        return -3 <= float(text) <= 3
    except (ValueError, TypeError):  # TypeError: the row ends before the column
        return False
