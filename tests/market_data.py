"""Where the folder of real market data is, for tests that read it; they skip where it is not."""

import os
from pathlib import Path

import pytest


def data_file(name: str) -> Path:
    """``name`` inside the folder ALPHAPULSE_DATA, or shared/data beside the project."""
    folder = Path(os.environ.get("ALPHAPULSE_DATA") or Path(__file__).parents[2] / "shared" / "data")
    path = folder / name
    if not path.exists():
        pytest.skip(f"no {path}: set ALPHAPULSE_DATA to the folder of real market data")
    return path
