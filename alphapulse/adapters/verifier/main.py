"""The command line of the verifier, inside our product and as the single file of a bundle."""

from __future__ import annotations

import argparse
import re
import sys
from pathlib import Path
from typing import BinaryIO, Callable, Sequence

from alphapulse.adapters.verifier.bundle import verify_bundle
from alphapulse.adapters.verifier.findings import EXIT_CODES, Findings
from alphapulse.adapters.verifier.judging import EvidenceWatcher, TrackWatcher
from alphapulse.adapters.verifier.known import Asked
from alphapulse.adapters.verifier.note import MAX_NOTE_CHARACTERS, Key, NoteRefused, key_of
from alphapulse.adapters.verifier.report import report_json, report_text
from alphapulse.adapters.verifier.single import verify_proof
from alphapulse.adapters.verifier.watching import Watcher

WRONGLY_CALLED = 2
_HELP = """Verify a bundle, or the proof of one event: what is here was sealed, and is unchanged.
Exit code 0: VALID; 1: INVALID; 3: VALID BUT INCOMPLETE; 2: wrongly called."""
MAX_PROOF_BYTES = 1 << 26
_PROGRESS_BYTES = 1 << 24


class WronglyCalled(Exception):
    """What was asked for cannot be: says why."""


def main(arguments: Sequence[str] | None = None) -> int:
    """The exit code."""
    given = _parser().parse_args(arguments)
    try:
        asked = asked_of(given.key, given.since, given.witness, given.trust)
        found = verify_file(given.bundle, asked, None if given.json else _progress_of(given.bundle))
    except (WronglyCalled, OSError) as error:
        sys.stderr.write(f"{error}\n")
        return WRONGLY_CALLED
    sys.stdout.write(report_json(found) if given.json else report_text(found))
    return EXIT_CODES[found.verdict]


def verify_file(path: str, asked: Asked, progress: Callable[[int], None] | None = None) -> Findings:
    """What is found in the bundle, or the file of a single proof, at ``path``.

    Raises:
        OSError: it cannot be read.
    """
    with Path(path).open("rb") as file:
        start = file.read(1)
        if start == b"{":
            return verify_proof(start + file.read(MAX_PROOF_BYTES), asked)

    def opened() -> BinaryIO:
        return Path(path).open("rb")

    return verify_bundle(opened, asked, watchers(), progress)


def watchers() -> list[Watcher]:
    """Who looks at the events besides."""
    return [TrackWatcher(), EvidenceWatcher()]


def asked_of(
    key: str | None, since: str | None, witnesses: Sequence[str], trusted: Sequence[str] = ()
) -> Asked:
    """What the caller holds; a key is given as its text, or as a file with it.

    Raises:
        WronglyCalled: it is no key, no digest, or a file cannot be read.
    """
    for digest in trusted:
        if not re.fullmatch("[0-9a-f]{64}", digest):
            raise WronglyCalled(f"{digest} is no SHA-256 in hexadecimal: 64 digits, in lower case")
    return Asked(
        None if key is None else _given_key(key),
        None if since is None else _file_text(since),
        [_given_key(witness) for witness in witnesses],
        trusted,
    )


def _given_key(text: str) -> Key:
    try:
        return key_of((_file_text(text) if Path(text).is_file() else text).strip())
    except NoteRefused as error:
        raise WronglyCalled(f"{text}: {error}") from None


def _file_text(path: str) -> str:
    try:
        with Path(path).open(encoding="utf-8", newline="") as file:
            return file.read(MAX_NOTE_CHARACTERS)
    except (OSError, UnicodeDecodeError) as error:
        raise WronglyCalled(f"{path}: {error}") from None


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description=_HELP, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    parser.add_argument("bundle", help="the .tar.gz, or a file with the proof of one event")
    parser.add_argument("--key", help="the log's key, or a file with it, from a place other than the bundle")
    parser.add_argument("--since", help="a file with a checkpoint that you hold: the log must continue it")
    parser.add_argument(
        "--witness", action="append", default=[], help="the key of a witness that must have cosigned"
    )
    parser.add_argument(
        "--trust",
        action="append",
        default=[],
        help="SHA-256 of the certificate of a time-stamping authority, or the hash of a Bitcoin block",
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    return parser


def _progress_of(path: str) -> Callable[[int], None] | None:
    """Tells how far it is where a person looks on and the file is large."""
    size = Path(path).stat().st_size
    if size < _PROGRESS_BYTES or not sys.stderr.isatty():
        return None
    told = [-1]

    def progress(done: int) -> None:
        percent = 100 * done // size
        if percent != told[0]:
            told[0] = percent
            sys.stderr.write(f"\r{percent} %" if percent < 100 else "\r     \r")

    return progress


if __name__ == "__main__":
    sys.exit(main())
