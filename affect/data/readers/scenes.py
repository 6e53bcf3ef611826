"""Scenes of TV series that MUStARD and MUStARD++ cut clips from. Not a reader."""

import re
from collections.abc import Iterable, Iterator, Mapping

SHORTEST_LINE = 5
"""Words. Shorter lines ("What do you mean?") are said in many scenes."""


def one_line(text: str) -> str:
    """A transcript without the line breaks that it has in the table."""
    return " ".join(text.split())


def long_lines(lines: Iterable[str]) -> Iterator[str]:
    """The lines that tell a scene from others, spelled so that case and punctuation make no difference."""
    for line in lines:
        words = re.findall(r"\w+", line.casefold().replace("'", ""))
        if len(words) >= SHORTEST_LINE:
            yield " ".join(words)


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
