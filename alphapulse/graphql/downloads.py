"""Where finished exports lie until they are fetched or their time is over."""

from pathlib import Path
from typing import Protocol

PATH = "/log/exports"  # and a token: the right to fetch one


class NotThere(Exception):
    """There is no such file, and never was as far as is known."""


class Gone(Exception):
    """There was such a file; its time is over."""


class Downloads(Protocol):
    def find(self, token: str) -> Path:
        """The file of ``token``. Raises NotThere, Gone."""
        ...
