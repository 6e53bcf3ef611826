"""What differs between two prompts of one clip, part by part."""

from affect.prompting.messages import Example


def parts(example: Example) -> dict[str, str]:
    """The parts of a prompt by name, in order: the system turn, what is seen and heard (by its kind alone), and the
    slots of the user turn."""
    result = {}
    for message in example.messages[:-1]:
        result[f"{message['role']} turn"] = "".join(part["text"] for part in message["content"])
    for part in example.messages[-1]["content"]:
        if part["type"] != "text":
            result[part["type"]] = f"<{part['type']}>"
    return result | dict(example.shown)


def differences(one: Example, other: Example) -> dict[str, tuple[str | None, str | None]]:
    """The parts that are not the same in both, by name: their text in each, None where it is not there."""
    ours, theirs = parts(one), parts(other)
    return {
        name: (ours.get(name), theirs.get(name)) for name in {**ours, **theirs} if ours.get(name) != theirs.get(name)
    }
