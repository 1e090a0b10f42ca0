"""Targets: what a stranger's verifier reads: bundles, proofs, notes, timestamps. Only verdicts come out."""

import asyncio
import functools
import gzip
import io
import tarfile
import tempfile
from collections.abc import Callable, Mapping, Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any

from alphapulse.adapters.verifier.bundle import Asked, verify_bundle
from alphapulse.adapters.verifier.der import BadDer, Der, der_of
from alphapulse.adapters.verifier.findings import EXIT_CODES, Findings
from alphapulse.adapters.verifier.main import watchers
from alphapulse.adapters.verifier.manifest import manifest_in
from alphapulse.adapters.verifier.note import NoteRefused, check_cosigned, check_signed, key_of, note_of
from alphapulse.adapters.verifier.promises import _OTS_MAGIC, PromiseRefused, promises_of
from alphapulse.adapters.verifier.report import report_json, report_text
from alphapulse.adapters.verifier.single import verify_proof
from alphapulse.adapters.verifier.timestamps import StampRefused, stamp_of
from alphapulse.domain.provenance.notes import NoteKey
from alphapulse.domain.provenance.selection import Selection
from tests.fuzz.target import Target, place_of
from tests.provenance.forging import members_of, repair_manifest
from tests.provenance.given import bundle_of, sealed_log

_SEPARATOR = b"\n\x1c"  # before the name of a member, which a line feed ends


def check_bundle(data: bytes) -> str:
    """First byte even: members, which become an archive with right headers. Odd: the file as it is."""
    if not data:
        return "empty"
    packed = data[1:] if data[0] % 2 else _archive(data[1:])
    return _verdict(verify_bundle(lambda: io.BytesIO(packed), Asked(), watchers()))


def _verdict(found: Findings) -> str:
    """What it comes down to; both reports can be written."""
    assert found.verdict in EXIT_CODES
    assert report_json(found).endswith("\n")
    assert found.verdict in report_text(found)
    first = found.faults[0].text if found.faults else ""
    return f"{found.verdict} {''.join(c for c in first[:40] if not c.isdigit())}"


def _archive(data: bytes) -> bytes:
    made = io.BytesIO()
    for part in data.split(_SEPARATOR)[1:]:
        name, _, content = part.partition(b"\n")
        info = tarfile.TarInfo(name[:99].decode("latin-1"))
        info.size = len(content)
        header = info.tobuf(tarfile.USTAR_FORMAT, "latin-1")[:512]
        made.write(header + content + bytes(-len(content) % 512))
    return gzip.compress(made.getvalue() + bytes(1024), 1, mtime=0)


def _framed(members: Mapping[str, bytes]) -> bytes:
    return b"\0" + b"".join(_SEPARATOR + n.encode() + b"\n" + data for n, data in members.items())


@functools.cache
def _honest() -> tuple[NoteKey, Sequence[Mapping[str, bytes]]]:
    """Small bundles and their key, the same each time; without files that hold what others hold."""
    with tempfile.TemporaryDirectory() as folder:
        key = asyncio.run(_exported(Path(folder)))
        packed = [path.read_bytes() for path in sorted(Path(folder).iterdir())]
    found = []
    for data in packed:
        members = {n: d for n, d in members_of(data).items() if n not in ("verify.py", "README.txt")}
        members.pop("events.parquet", None)
        repair_manifest(members)
        found.append(members)
    return key, found


async def _exported(folder: Path) -> NoteKey:
    world = await sealed_log(events=8, seed=4, each=4, rows=2)
    streams = tuple(await world.store.streams(""))
    for i, asked in enumerate((Selection(), Selection(streams=streams[:1]))):
        await bundle_of(world, asked, folder / f"{i}.tar.gz")
    return world.key


def _bundles() -> Sequence[bytes]:
    bundles = _honest()[1]
    return [*map(_framed, bundles), b"\1" + _archive(_framed(bundles[1])[1:])]


def check_note(data: bytes) -> str:
    """First byte: a key, a note, a manifest, or a whole proof."""
    if not data:
        return "empty"
    try:
        return _NOTES[data[0] % len(_NOTES)](data[1:])
    except (NoteRefused, UnicodeDecodeError) as error:
        return place_of(error)


def _key(data: bytes) -> str:
    key = key_of(data.decode())
    assert key_of(key.text()) == key
    return "key"


def _note(data: bytes) -> str:
    note = note_of(data.decode())
    for check in (check_signed, check_cosigned):
        check(note, key_of(str(_honest()[0])))
    return "signed"


def _manifest(data: bytes) -> str:
    members = {"manifest.json": data}
    return _verdict(verify_bundle(lambda: io.BytesIO(_archive(_framed(members)[1:])), Asked()))


def _proof(data: bytes) -> str:
    return _verdict(verify_proof(data, Asked()))


_NOTES: Sequence[Callable[[bytes], str]] = (_key, _note, _manifest, _proof)


def _notes() -> Sequence[bytes]:
    key, (members, _) = _honest()
    manifest_in(members["manifest.json"].decode())
    checkpoint = members["checkpoint"]
    line = next(line for line in members["events/000001.jsonl"].splitlines() if b'"gap"' not in line)
    proof = (
        b'{"format":"alphapulse-proof-1","key":"%s","checkpoint":"%s","leaf":0,"hash":"%s","proof":["%s"],"line":%s}'
        % (str(key).encode(), checkpoint.replace(b"\n", b"\\n"), b"A" * 43 + b"=", b"A" * 43 + b"=", line)
    )
    return [b"\0" + str(key).encode(), b"\1" + checkpoint, b"\2" + members["manifest.json"], b"\3" + proof]


def check_anchor_bytes(data: bytes) -> str:
    """First byte: a timestamp of RFC 3161, a promise of OpenTimestamps, or any DER."""
    if not data:
        return "empty"
    try:
        match data[0] % 3:
            case 0:
                return f"stamp {stamp_of(data[1:], b'note').certificate is not None}"
            case 1:
                return f"promise {len(promises_of(data[1:], b'note', 1).blocks)}"
            case _:
                return f"der {_depth(der_of(data[1:]))}"
    except (StampRefused, PromiseRefused, BadDer) as error:
        return place_of(error)


def _depth(value: Der, deep: int = 0) -> int:
    """How deep it goes; every reading of every value is tried."""
    readings: Sequence[Callable[[], Any]] = (value.number, value.oid, value.bits, value.time_us)
    for read in readings:
        try:
            read()
        except BadDer:
            continue
    if deep > 100 or not value.tag & 0x20:
        return deep
    return max((_depth(child, deep + 1) for child in value.children()), default=deep)


def _anchor_seeds() -> Sequence[bytes]:
    """Promises and a bit of DER; a timestamp, which a program of others has to sign, is in the corpus."""
    head = b"\1" + _OTS_MAGIC + sha256(b"note").digest()
    pending = b"\0" + bytes.fromhex("83dfe30d2ef90c8e") + b"\x17\x16https://a.example/path"
    block = b"\0" + bytes.fromhex("0588960d73d71901") + b"\x03\x80\xea\x30"
    return [
        head + b"\xf0\x04salt\x08" + pending,
        head + b"\xff\x08" + pending + b"\xf1\x01a\x08" + block,
        b"\2" + bytes.fromhex("3019020105060355040a180f32303236303133313132303030305a"),
    ]


BUNDLES = Target(
    name="bundles",
    check=check_bundle,
    seeds=_bundles,
    words=(
        _SEPARATOR + b"events/000001.jsonl\n",
        _SEPARATOR + b"evidence.json\n{}",
        b'{"gap":[0,1],"nodes":[]}',
    ),
    max_bytes=32_768,
)
NOTES = Target(
    name="notes",
    check=check_note,
    seeds=_notes,
    words=(b"\n\n", "\n— ".encode(), b"+", b"=", b'"leaf":', b'"proof":[]', b"null", b"\r"),
    max_bytes=8_192,
)
ANCHORS = Target(
    name="anchors",
    check=check_anchor_bytes,
    seeds=_anchor_seeds,
    words=(
        b"\xff",
        b"\x08",
        b"\xf0\x01a",
        b"\xf2",
        b"\x00",
        b"0\x80",
        b"0\x82\x01\x00",
        b"\x02\x01\x01",
        b"\x06\x03U\x04\n",
    ),
    max_bytes=6_000,
)
