"""Every target, by name; each is imported when it is asked for, as some load much."""

from collections.abc import Mapping
from importlib import import_module

from tests.fuzz.target import Target

MODULES: Mapping[str, str] = {
    **dict.fromkeys(("events", "columns", "messages"), "events"),
    **dict.fromkeys(("files", "tables"), "files"),
    **dict.fromkeys(("documents", "cursors"), "requests"),
    "settings": "configuration",
    **dict.fromkeys(("bundles", "notes", "anchors"), "verifying"),
}


def target(name: str) -> Target:
    """The target that its module holds in capitals."""
    found = getattr(import_module(f"tests.fuzz.{MODULES[name]}"), name.upper())
    assert isinstance(found, Target)
    return found
