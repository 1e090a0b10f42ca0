"""Where compiled kernels are kept when neither the package nor a home can be written."""

import os
from pathlib import Path

import pytest

from alphapulse.cli import caches


@pytest.fixture
def homeless(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> dict[str, str]:
    """A service user: the package is not its own, and there is no home."""
    monkeypatch.setattr(caches, "_is_writable", lambda path: False)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    return {}


def test_what_is_set_stays(homeless: dict[str, str]) -> None:
    environ = {"NUMBA_CACHE_DIR": "/somewhere"}
    caches.provide_numba_cache(environ)
    assert environ == {"NUMBA_CACHE_DIR": "/somewhere"}


def test_nothing_is_set_where_numba_finds_a_place_itself(tmp_path: Path) -> None:
    environ = {"XDG_CACHE_HOME": str(tmp_path / "made" / "later")}
    caches.provide_numba_cache(environ)
    assert "NUMBA_CACHE_DIR" not in environ


def test_a_homeless_user_keeps_them_in_a_private_directory_the_same_each_time(
    homeless: dict[str, str],
) -> None:
    caches.provide_numba_cache(homeless)
    first = Path(homeless.pop("NUMBA_CACHE_DIR"))
    caches.provide_numba_cache(homeless)
    assert Path(homeless["NUMBA_CACHE_DIR"]) == first
    assert first.stat().st_mode & 0o777 == 0o700


@pytest.mark.parametrize("trap", ["open", "link", "file"])
def test_a_directory_that_others_could_have_filled_is_not_used(
    homeless: dict[str, str], tmp_path: Path, trap: str
) -> None:
    place = tmp_path / f"alphapulse-numba-{os.geteuid()}"
    match trap:
        case "open":
            place.mkdir()
            place.chmod(0o777)
        case "link":
            (tmp_path / "theirs").mkdir()
            place.symlink_to(tmp_path / "theirs")
        case "file":
            place.touch()
    caches.provide_numba_cache(homeless)
    used = Path(homeless["NUMBA_CACHE_DIR"])
    assert used != place
    assert used.stat().st_mode & 0o777 == 0o700
