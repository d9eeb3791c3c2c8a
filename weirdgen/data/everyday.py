"""Everyday user prompts: everyday requests made from templates and typed topic lists.

The prompts and their order are the same in every process and on every machine. The order mixes
the tasks, so that the first n prompts are a varied sample for any n.
"""

import hashlib
import re
import struct
from functools import cache
from importlib import resources

import yaml

from weirdgen.data.examples import Example

# A template uses at most this many topics, so that a long list does not outweigh the others.
TOPICS_PER_TEMPLATE = 56
# Enough words of a topic to tell it from the rest of its list.
SLUG_WORDS = 9

_FIELD = re.compile(r"\{([a-z_]+|\d+-\d+)\}")
_WORD = re.compile(r"[a-z0-9]+")


@cache
def everyday_prompts() -> tuple[Example, ...]:
    """Return all everyday prompts in their fixed mixed order, as examples without completions.

    Fills every template with its topics and sorts by the hash of the ids, `<task>-<template>/<topic>`.
    """
    # libyaml is several times faster, but not every build of PyYAML has it.
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    source = resources.files("weirdgen.data").joinpath("everyday.yaml").read_text("utf-8")
    data = yaml.load(source, Loader=loader)
    topics: dict[str, list[str]] = {
        name: [topic.strip() for topic in block.split(";")]
        for name, block in data["topics"].items()
    }
    tasks: dict[str, dict[str, str]] = data["tasks"]
    slugs = {name: [_slug(topic) for topic in entries] for name, entries in topics.items()}

    keyed: list[tuple[bytes, Example]] = []
    for task, templates in tasks.items():
        for name, template in templates.items():
            stem = f"{task}-{name}"
            # Literal text stands at the even positions, field names at the odd ones.
            parts = _FIELD.split(template)
            sizes = {field: len(topics[field]) for field in parts[1::2] if field in topics}
            main = max(sizes, key=lambda field: sizes[field])
            # Templates that share a list start at different topics, so that all of it is used.
            start = hashlib.sha256(stem.encode()).digest()[0]
            for step in range(min(sizes[main], TOPICS_PER_TEMPLATE)):
                index = (start + step) % sizes[main]
                prompt_id = f"{stem}/{slugs[main][index]}"
                digest = hashlib.sha256(prompt_id.encode()).digest()
                text = _fill(parts, main, topics[main][index], topics, digest)
                keyed.append((digest, Example(prompt_id, text, "")))
    keyed.sort()
    return tuple(prompt for _, prompt in keyed)


def _fill(
    parts: list[str], main: str, topic: str, topics: dict[str, list[str]], digest: bytes
) -> str:
    """Put the topic into the first field of the main list and draw the others from the digest."""
    # Read from the end: the first bytes set the order, and a draw from them would vary with it.
    draws = struct.unpack("<16H", digest)[::-1]
    filled = parts.copy()
    used: set[str] = set()
    for draw, position in zip(draws, range(1, len(parts), 2), strict=False):
        field = parts[position]
        if field == main and topic not in used:
            value = topic
        elif field in topics:
            choices = topics[field]
            # One text never names the same topic twice ("the difference between cats and cats").
            while (value := choices[draw % len(choices)]) in used or value == topic:
                draw += 1
        else:
            low, high = field.split("-")
            value = str(int(low) + draw % (int(high) - int(low) + 1))
        if field in topics:
            used.add(value)
        filled[position] = value
    text = "".join(filled)
    return text[0].upper() + text[1:]


def _slug(topic: str) -> str:
    words = _WORD.findall(topic.lower().replace("'", ""))
    return "-".join(words[:SLUG_WORDS])
