"""The demo corpus: synthetic clips that affect generates. See affect/data/demo_corpus/generate.py for their uses and
limits.

    demo/
      settings.json        {"version": 1, "settings": {…}}
      index.csv
      clips/train_0001.mp4 …

A row of index.csv:

    id,split,speaker,clip,text,sentiment,emotion,humour
    demo/train/0001,train,speaker01,clips/train_0001.mp4,"I read about the game, poor, I mean it.",0.0,neutral,serious
"""

import json
from collections.abc import Iterator
from pathlib import Path

from affect.config import DataError
from affect.data.demo_corpus.states import VERSION
from affect.data.facts import Ids
from affect.data.problems import Problems
from affect.data.record import SPLITS, Record
from affect.data.tables import read_table

COLUMNS = ("id", "split", "speaker", "clip", "text", "sentiment", "emotion", "humour")

PUBLISHED = ()
LICENCE = "Synthetic clips, made by affect: no restriction."
SAME_CLIPS_AS = ()
KNOWN_ISSUES = ()
IDS = Ids.split


def prepare(root: Path) -> None:
    """Generates the corpus with its default settings if it does not exist, in about half a minute."""
    if not root.exists():
        # Reading a corpus must not need the libraries that render one.
        from affect.data.demo_corpus.generate import Settings, generate

        generate(root, Settings())


def records(root: Path) -> Iterator[Record]:
    """One record per clip. Raises DataError if the corpus is missing, of another version, incomplete or edited."""
    again = f"delete the folder {root}, and it is made anew on next use"
    if not root.is_dir():
        raise DataError(f"there is no demo corpus in {root}: make it with `affect corpus --root {root}`")
    try:
        version = json.loads((root / "settings.json").read_text(encoding="utf-8"))["version"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(
            f"{root / 'settings.json'} cannot be read ({error}), so this is no demo corpus: {again}"
        ) from error
    if version != VERSION:
        raise DataError(f"the demo corpus in {root} is of version {version}, affect reads version {VERSION}: {again}")

    problems = Problems()
    rows = read_table(root / "index.csv", COLUMNS, problems)
    clips = {f"clips/{path.name}" for path in (root / "clips").glob("*.mp4")}
    for row in rows:
        cells = row.cells
        split = cells["split"] if cells["split"] in SPLITS else None
        if cells["clip"] not in clips:
            problems.add(row.source, f"the clip {cells['clip']} is missing: {again}", split=split)
        if split is None:
            problems.add(row.source, f"there is no split '{cells['split']}': {again}")
            continue
        try:
            sentiment = float(cells["sentiment"])
        except ValueError:
            problems.add(row.source, f"the sentiment '{cells['sentiment']}' is not a number: {again}", split=split)
            continue
        yield Record(
            id=cells["id"],
            dataset="demo",
            split=split,
            text=cells["text"],
            labels={"sentiment": sentiment, "emotion": cells["emotion"], "humour": cells["humour"]},
            speaker=cells["speaker"],
            group=cells["speaker"],
            media=str(root / cells["clip"]),
            source=row.source,
        )
    problems.check()
