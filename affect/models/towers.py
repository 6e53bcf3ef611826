"""Which tower of a model a module or parameter belongs to."""

HEAD = "head"
"""The tower of affect/models/heads.py, which is new and therefore always trained whole."""


def tower_of(name: str, towers: dict[str, list[str]]) -> str:
    """The tower of a module or parameter: the one with the longest matching prefix."""
    matches = [
        (len(prefix), tower)
        for tower, prefixes in towers.items()
        for prefix in prefixes
        if name == prefix or name.startswith(prefix + ".")
    ]
    assert matches, f"{name} belongs to no tower: the family's `towers` has to cover every parameter"
    return max(matches)[1]
