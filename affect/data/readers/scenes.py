"""Scenes of the TV series that MUStARD and MUStARD++ cut clips from. Not a reader."""

import hashlib
import re
from collections.abc import Iterable, Iterator, Mapping

TEST_SHOW = "FRIENDS"
"""The test part of protocol speaker_independent: its speakers are in no other show."""

SHORTEST_LINE = 5
"""Words. Shorter lines ("What do you mean?") are said in many scenes."""

UNNAMED = re.compile(r"-|OTHER|PERSON\d*")
"""Names that stand for more than one person."""


def speaker_of(show: str, name: str) -> str | None:
    """The speaker as "SHOW/NAME"; None for UNNAMED."""
    return None if UNNAMED.fullmatch(name) else f"{show}/{name}"


def one_line(text: str) -> str:
    """A transcript without the line breaks that it has in the table."""
    return " ".join(text.split())


def long_lines(show: str, lines: Iterable[str]) -> Iterator[str]:
    """The lines that tell a scene from others of its show, without case and punctuation, after the show's name."""
    for line in lines:
        words = re.findall(r"\w+", line.casefold().replace("'", ""))
        if len(words) >= SHORTEST_LINE:
            yield f"{show} {' '.join(words)}"


def grouped(links: Mapping[str, Iterable[str]]) -> dict[str, str]:
    """Group by clip: clips that share a link are together, directly or through others, under the smallest name."""
    parent = {clip: clip for clip in links}

    def named(clip: str) -> str:
        while parent[clip] != clip:
            clip = parent[clip]
        return clip

    first: dict[str, str] = {}
    for clip, keys in links.items():
        for key in keys:
            # The smaller name wins, so that a group is called the same in whatever order the file is.
            name, other = sorted((named(clip), named(first.setdefault(key, clip))))
            parent[other] = name
    return {clip: named(clip) for clip in links}


def shuffled(dataset: str, scenes: Iterable[str]) -> list[str]:
    """Scenes by the sha256 of their names: an order that depends neither on the file nor on the machine."""
    return sorted(scenes, key=lambda scene: hashlib.sha256(f"{dataset}/{scene}".encode()).digest())
