"""Only archives as an export writes them are read; all else is refused with a reason, in bounded memory."""

import gzip
import io
import resource
import tarfile
import zlib
from collections.abc import Callable
from hashlib import sha256
from random import Random

import pytest

from alphapulse.adapters.verifier import archive
from alphapulse.adapters.verifier.archive import Archive, Member
from alphapulse.adapters.verifier.findings import Broken
from tests.provenance.forging import packed

MEMBERS = {"manifest.json": b"{}", "events/000001.jsonl": b"one\ntwo\n" * 9_000, "README.txt": b""}


def read(data: bytes) -> dict[str, bytes]:
    opened, found = Archive(io.BytesIO(data)), {}
    while (member := opened.member()) is not None:
        found[member.name] = b"".join(iter(member.read, b""))
    return found


def test_members_come_as_they_were_written() -> None:
    assert read(packed(MEMBERS)) == MEMBERS


def test_a_stream_of_several_gzip_members_is_one_archive() -> None:
    plain = gzip.decompress(packed(MEMBERS))
    assert read(b"".join(gzip.compress(plain[at : at + 700]) for at in range(0, len(plain), 700))) == MEMBERS


def test_what_is_not_read_is_skipped_and_hashed() -> None:
    opened = Archive(io.BytesIO(packed(MEMBERS)))
    digests = {}
    while (member := opened.member()) is not None:
        digests[member.name] = member.digest()
    assert digests == {name: sha256(data).hexdigest() for name, data in MEMBERS.items()}


def test_lines_come_without_their_newlines() -> None:
    opened = Archive(io.BytesIO(packed({"a.txt": b"x" * 300_000 + b"\n\nyz\n"})))
    assert [len(line) for line in _member(opened).lines()] == [300_000, 0, 2]


def test_a_last_line_that_does_not_end_is_refused() -> None:
    opened = Archive(io.BytesIO(packed({"a.txt": b"x\ny"})))
    with pytest.raises(Broken, match=r"a\.txt breaks off inside a line"):
        list(_member(opened).lines())


@pytest.mark.parametrize(
    "name",
    [
        "/etc/passwd",
        "../up",
        "a/../b",
        "a/b/c",
        "C:\\x",
        "a b",
        "",
        ".hidden",
        "A.txt",
        "events/",
        "a//b",
    ],
)
def test_other_names_are_refused(name: str) -> None:
    with pytest.raises(Broken, match="a member has the name"):
        read(packed({name: b""}))


@pytest.mark.parametrize(
    "change",
    [
        lambda info: setattr(info, "type", tarfile.SYMTYPE),
        lambda info: setattr(info, "type", tarfile.LNKTYPE),
        lambda info: setattr(info, "type", tarfile.DIRTYPE),
        lambda info: setattr(info, "type", tarfile.CHRTYPE),
        lambda info: setattr(info, "type", b"x"),
        lambda info: setattr(info, "linkname", "elsewhere"),
        lambda info: setattr(info, "mtime", 1),
        lambda info: setattr(info, "uid", 1000),
        lambda info: setattr(info, "uname", "root"),
        lambda info: setattr(info, "mode", 0o4755),
    ],
)
def test_links_folders_devices_owners_and_times_are_refused(
    change: Callable[[tarfile.TarInfo], None],
) -> None:
    with pytest.raises(Broken, match=r"is no plain file|has the name"):
        read(packed({"a.txt": b""}, tar=change))


def test_a_name_twice_is_refused() -> None:
    once = gzip.decompress(packed({"a.txt": b"1"}))[:-1024]
    with pytest.raises(Broken, match=r"two members have the name a\.txt"):
        read(gzip.compress(once + once + bytes(1024)))


@pytest.mark.parametrize("behind", [b"x", bytes(1024) + b"x" * 512, bytes(512 * 100)])
def test_what_stands_behind_the_end_is_refused(behind: bytes) -> None:
    with pytest.raises(Broken, match="behind the end"):
        read(gzip.compress(gzip.decompress(packed(MEMBERS)) + behind))


def test_what_stands_between_members_is_refused() -> None:
    plain = bytearray(gzip.decompress(packed({"a.txt": b"1", "b.txt": b"2"})))
    plain[512 + 1] = 7
    with pytest.raises(Broken, match=r"something stands between a\.txt and"):
        read(gzip.compress(bytes(plain)))


def test_every_cut_of_an_archive_is_told() -> None:
    data = packed({"a.txt": b"123", "b.txt": bytes(Random(1).randbytes(2_000))})
    for size in range(len(data)):
        with pytest.raises(Broken, match=r"breaks off|no gzip file"):
            read(data[:size])


@pytest.mark.parametrize("data", [b"", b"x", b"\x1f\x8b", b"PK\x03\x04" * 200, bytes(2_000), b"{}"])
def test_what_is_no_archive_is_refused(data: bytes) -> None:
    with pytest.raises(Broken):
        read(data)


def test_garbage_in_gzip_is_refused() -> None:
    random = Random(3)
    for _ in range(200):
        with pytest.raises(Broken):
            read(gzip.compress(random.randbytes(random.randrange(2_000))))


def test_flips_of_any_byte_of_the_file_change_nothing_that_is_read_unseen() -> None:
    """But for bits of gzip's own header that say nothing of the content, every flip is refused."""
    data = packed({"a.txt": b"some text\n" * 20})
    for at in range(10, len(data)):
        broken = bytearray(data)
        broken[at] ^= 1 << at % 8
        try:
            assert read(bytes(broken)) == read(data)
        except Broken:
            continue


def bomb(zeros: int) -> bytes:
    """A member of so many zeros."""
    info = tarfile.TarInfo("evidence.json")
    info.size = zeros
    packer = zlib.compressobj(1, zlib.DEFLATED, 31)
    parts = [packer.compress(info.tobuf(tarfile.USTAR_FORMAT))]
    block = bytes(1 << 20)
    parts += [packer.compress(block) for _ in range(zeros >> 20)]
    return b"".join(parts) + packer.flush()


def test_bombs_take_no_memory() -> None:
    data = bomb(80 << 20)
    assert len(data) < 1 << 20
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(Broken, match=r"evidence\.json has 83886080 bytes, where 16777216 are the most"):
        _member(Archive(io.BytesIO(data))).whole()
    with pytest.raises(Broken, match="a line of over"):
        list(_member(Archive(io.BytesIO(data))).lines())
    assert (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024 < 150  # MB: one line at most


def test_a_member_over_the_limit_is_refused_before_it_is_read() -> None:
    info = tarfile.TarInfo("a.txt")
    info.size = archive.MAX_MEMBER_BYTES + 1
    header = info.tobuf(tarfile.GNU_FORMAT)
    with pytest.raises(Broken, match=r"a\.txt has a size of|where 8589934592 are the most"):
        read(gzip.compress(header))


def test_more_members_than_any_export_has_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archive, "MAX_MEMBERS", 5)
    assert len(read(packed({f"a{i}.txt": b"" for i in range(5)}))) == 5
    with pytest.raises(Broken, match="over 5 members"):
        read(packed({f"a{i}.txt": b"" for i in range(6)}))


def _member(opened: Archive) -> Member:
    member = opened.member()
    assert member is not None
    return member
