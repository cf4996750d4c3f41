"""YAML that somebody wrote by hand: plain values, and keys that are the words as they stand there, each once."""

from __future__ import annotations

from typing import Any

import yaml

from hfd_edge.errors import SpecError

_KEY = "tag:yaml.org,2002:str"
_MERGE = "tag:yaml.org,2002:merge"      # <<, which takes another mapping over


class Loader(yaml.SafeLoader):
    """A key that stands twice is an error and no longer the last one's silent victory; `no` and `1` as keys are words, no truth and no number."""

    def compose_mapping_node(self, anchor: str | None) -> yaml.MappingNode:
        node = super().compose_mapping_node(anchor)
        words = [key for key, _ in node.value if isinstance(key, yaml.ScalarNode) and key.tag != _MERGE]
        seen: set[str] = set()
        for key in words:
            if key.value in seen:
                raise SpecError(f"key {key.value!r} stands twice (line {key.start_mark.line + 1} is the second): keep one")
            seen.add(key.value)
            key.tag = _KEY
        return node


def load(text: str) -> Any:
    """The value of a text.

    Raises:
        SpecError: a key stands twice. yaml.YAMLError: it is no YAML.
    """
    return yaml.load(text, Loader)  # noqa: S506 - a SafeLoader: plain values only
