"""How anchors are configured: ``kind:target|option|option``, with commas between anchors.

    file:/mnt/usb/witness                                       a folder on another disk, or mounted
    file:/mnt/usb/witness|<key of the witness>                  and nobody else's key in it
    witness:https://witness.example/prefix|<key of the witness>
    rfc3161:https://tsa.example/tsr                             what its signature is worth is left open
    rfc3161:https://tsa.example/tsr|/etc/tsa-roots.pem          signed under one of these
    ots:https://a.pool.opentimestamps.org
    ots:https://…|calendar=https://cal.example|headers=https://blockstream.info/api

An anchor is known by its kind and target; options may change without making it another.
"""

import ipaddress
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from urllib.parse import urlsplit

from alphapulse.domain.provenance.notes import COSIGNATURE, BadNote, NoteKey

MAX_ANCHORS = 16
_KINDS = ("file", "witness", "rfc3161", "ots")


class BadAnchor(ValueError):
    """No such anchor can be; says which, and what is wrong."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AnchorName:
    """An anchor as it is configured."""

    kind: str
    target: str  # a folder, or the address up to the protocol's own path, without a slash at the end
    key: NoteKey | None = None  # of the witness
    roots: str | None = None  # a file of certificates
    calendars: Sequence[str] = ()  # more addresses that may be asked for the rest of a timestamp
    headers: str | None = None  # where block headers are looked up

    def __str__(self) -> str:
        return f"{self.kind}:{self.target}"


def parse_anchors(text: str) -> Sequence[AnchorName]:
    """Raises BadAnchor: one of them cannot be, is there twice, or there are more than 16."""
    found = [_anchor(part.strip()) for part in text.split(",") if part.strip()]
    names = [str(anchor) for anchor in found]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise BadAnchor(f"{', '.join(twice)} is there more than once")
    if len(found) > MAX_ANCHORS:
        raise BadAnchor(f"{len(found)} anchors, where {MAX_ANCHORS} are the most")
    return found


def _anchor(text: str) -> AnchorName:
    kind, _, rest = text.partition(":")
    target, *options = rest.split("|")
    try:
        match kind:
            case "file":
                return AnchorName(kind=kind, target=_folder(target), key=_key(options, is_needed=False))
            case "witness":
                return AnchorName(kind=kind, target=address(target), key=_key(options, is_needed=True))
            case "rfc3161":
                return AnchorName(kind=kind, target=_page(target), roots=_roots(options))
            case "ots":
                return _ots(address(target), options)
            case _:
                raise BadAnchor(f"{kind!r} is none of {', '.join(_KINDS)}")
    except BadNote as error:
        raise BadAnchor(f"{text}: {error}") from None
    except BadAnchor as error:
        raise BadAnchor(f"{text}: {error}") from None


def address(text: str) -> str:
    """``text`` without a slash at its end, if it is an address that may be asked.

    Raises:
        BadAnchor: it is neither of https, nor of http on this machine, or holds more than host and path.
    """
    return _page(text).rstrip("/")


def _page(text: str) -> str:
    parts = urlsplit(text)
    try:
        host, _ = parts.hostname, parts.port
    except ValueError as error:
        raise BadAnchor(f"{text!r} is no address: {error}") from None
    if parts.scheme not in ("https", "http") or not host or not text.isprintable() or " " in text:
        raise BadAnchor(f"{text!r} is no address such as https://anchor.example/path")
    if parts.query or parts.fragment or parts.username is not None:
        raise BadAnchor(f"{text!r} holds more than a host and a path")
    if parts.scheme == "http" and not _is_loopback(host):
        raise BadAnchor(f"{text!r} is not https, and not on this machine")
    return text


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _folder(text: str) -> str:
    if not text.startswith("/") or not text.isprintable():
        raise BadAnchor(f"{text!r} is no folder: a path from the root")
    return text.rstrip("/") or "/"


def _key(options: Sequence[str], *, is_needed: bool) -> NoteKey | None:
    if len(options) > 1 or (is_needed and not options):
        raise BadAnchor(f"{len(options)} options, where the key of the witness belongs: name+id+base64")
    if not options:
        return None
    key = NoteKey.parse(options[0])
    if key.kind != COSIGNATURE:
        raise BadAnchor(f"the key of {key.name} signs notes; a witness's key is of type {COSIGNATURE}")
    return key


def _roots(options: Sequence[str]) -> str | None:
    if len(options) > 1 or any(not option.startswith("/") for option in options):
        raise BadAnchor(f"{'|'.join(options)!r} is no file of certificates: one path from the root")
    return options[0] if options else None


def _ots(target: str, options: Sequence[str]) -> AnchorName:
    given: Mapping[str, list[str]] = {"calendar": [], "headers": []}
    for option in options:
        word, _, value = option.partition("=")
        if word not in given:
            raise BadAnchor(f"{option!r} is neither calendar=https://… nor headers=https://…")
        given[word].append(address(value))
    if len(given["headers"]) > 1:
        raise BadAnchor(f"{len(given['headers'])} places for block headers, where one is enough")
    headers = given["headers"][0] if given["headers"] else None
    return AnchorName(kind="ots", target=target, calendars=tuple(given["calendar"]), headers=headers)
