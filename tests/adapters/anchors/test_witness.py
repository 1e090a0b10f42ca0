"""C2SP witnesses: our requests as the specification wants them, and what we make of every answer."""

import os

import pytest

from alphapulse.adapters.provenance.anchor_witness import WitnessAnchor
from alphapulse.adapters.provenance.keys import KeySigner, ed25519
from alphapulse.domain.provenance.anchors import AnchorFailed, Contradicted, cosign, cosigned, witness_key
from alphapulse.domain.provenance.notes import parse_note
from tests.adapters.anchors.sealed_logs import sealed_log
from tests.adapters.anchors.servers import Reply, Request, Witness, always, serving, witness_for


def anchor_at(url: str, witness: Witness, **limits: float) -> WitnessAnchor:
    return WitnessAnchor(name=f"witness:{url}", url=url, key=witness_key(witness.signer.key), **limits)


async def test_a_witness_cosigns_as_the_log_grows_and_its_time_counts():
    log = await sealed_log()
    witness = witness_for(log.signer.key)
    async with serving(witness) as url:
        anchor = anchor_at(url, witness)
        for count, now in ((3, 1_700_000_000), (1, 1_700_000_060), (700, 1_700_000_120)):
            sealed, witness.now = await log.grow(count), now
            receipt = await anchor.anchor(sealed, log.proof_to(sealed))
            assert (receipt.size, receipt.kind, receipt.time) == (sealed.size, "witness", now * 1_000_000)
            lines, time_s = cosigned(receipt.data.decode(), parse_note(sealed.note).text, anchor.key, ed25519)
            assert (lines.encode(), time_s) == (receipt.data, now)
            assert await anchor.settle(receipt) is None
    assert len(witness.requests) == 3  # it remembers what the witness saw
    assert witness.seen[log.signer.key.name][0] == 704


async def test_one_who_comes_anew_learns_from_the_conflict_where_to_go_on():
    log = await sealed_log()
    witness = witness_for(log.signer.key)
    async with serving(witness) as url:
        sealed = await log.grow(5)
        await anchor_at(url, witness).anchor(sealed, log.proof_to(sealed))
        sealed = await log.grow(8)
        receipt = await anchor_at(url, witness).anchor(sealed, log.proof_to(sealed))
    assert receipt.size == 13
    assert [body.split(b"\n")[0] for body in witness.requests] == [b"old 0", b"old 0", b"old 5"]


async def test_the_same_checkpoint_is_cosigned_again():
    log = await sealed_log()
    witness = witness_for(log.signer.key)
    async with serving(witness) as url:
        sealed = await log.grow(5)
        for _ in range(2):
            assert (await anchor_at(url, witness).anchor(sealed, log.proof_to(sealed))).size == 5


async def test_a_fork_and_a_log_that_was_rolled_back_are_refused_and_said():
    log = await sealed_log()
    witness = witness_for(log.signer.key)
    async with serving(witness) as url:
        sealed = await log.grow(5)
        await anchor_at(url, witness).anchor(sealed, log.proof_to(sealed))
        fork = await sealed_log(log.signer)
        shorter = await fork.grow(4)
        with pytest.raises(Contradicted, match="cosigned 5 leaves of this log, which now has 4"):
            await anchor_at(url, witness).anchor(shorter, fork.proof_to(shorter))
        as_long = await fork.grow(1)
        with pytest.raises(Contradicted, match="another tree of 5 leaves"):
            await anchor_at(url, witness).anchor(as_long, fork.proof_to(as_long))
        longer = await fork.grow(4)
        with pytest.raises(Contradicted, match="our 9 leaves do not continue the 5"):
            await anchor_at(url, witness).anchor(longer, fork.proof_to(longer))
    assert witness.seen[log.signer.key.name][0] == 5


async def test_a_witness_that_does_not_know_the_log_or_its_key_says_what_to_do():
    log = await sealed_log()
    sealed = await log.grow(2)
    stranger = Witness(KeySigner("w", os.urandom(32)), {})
    async with serving(stranger) as url:
        with pytest.raises(AnchorFailed, match=r"does not know the log log\.example/test: ask its operator"):
            await anchor_at(url, stranger).anchor(sealed, log.proof_to(sealed))
    distrustful = Witness(stranger.signer, {log.signer.key.name: stranger.signer.key})
    async with serving(distrustful) as url:
        with pytest.raises(AnchorFailed, match=r"does not trust the key of log\.example/test"):
            await anchor_at(url, distrustful).anchor(sealed, log.proof_to(sealed))


async def test_only_the_cosignature_of_the_configured_key_is_kept():
    log = await sealed_log()
    sealed = await log.grow(2)
    witness, other = witness_for(log.signer.key), KeySigner("other", os.urandom(32))
    text = parse_note(sealed.note).text
    lines = str(cosign(text, other, 7)) + str(cosign(text, witness.signer, 9)) + str(cosign(text, other, 8))
    async with serving(always(Reply(body=lines.encode()))) as url:
        receipt = await anchor_at(url, witness).anchor(sealed, log.proof_to(sealed))
    assert receipt.data.decode() == str(cosign(text, witness.signer, 9))
    assert receipt.time == 9_000_000


@pytest.mark.parametrize(
    "wrong", ["key", "text", "cut", "time", "no time", "nothing", "not utf-8", "long time"]
)
async def test_an_answer_that_is_no_cosignature_of_it_is_not_kept(wrong: str):
    log = await sealed_log()
    sealed = await log.grow(2)
    witness = witness_for(log.signer.key)
    text = parse_note(sealed.note).text
    right = cosign(text, witness.signer, 9)
    body = {
        "key": str(cosign(text, KeySigner(witness.signer.key.name, os.urandom(32)), 9)).encode(),
        "text": str(cosign(text.replace("\n2\n", "\n3\n"), witness.signer, 9)).encode(),
        "cut": str(right)[:60].encode(),
        "time": str(type(right)(right.name, right.key_id, bytes(7) + b"\x0a" + right.value[8:])).encode(),
        "no time": str(cosign(text, witness.signer, 0)).encode(),
        "long time": str(cosign(text, witness.signer, 2**63)).encode(),
        "nothing": b"",
        "not utf-8": b"\xff\xfe",
    }[wrong]
    async with serving(always(Reply(body=body))) as url:
        with pytest.raises(AnchorFailed, match=url):
            await anchor_at(url, witness).anchor(sealed, log.proof_to(sealed))


async def test_a_witness_that_changes_its_mind_for_ever_is_left_after_three_answers():
    log = await sealed_log()
    sealed = await log.grow(50)
    answers = 0

    async def fickle(request: Request) -> Reply:
        nonlocal answers
        answers += 1
        return Reply(409, f"{answers}\n".encode(), "text/x.tlog.size")

    async with serving(fickle) as url:
        with pytest.raises(AnchorFailed, match="changed its mind 3 times"):
            await anchor_at(url, witness_for(log.signer.key)).anchor(sealed, log.proof_to(sealed))
    assert answers == 3


@pytest.mark.parametrize(
    "reply",
    [
        Reply(409, b"7 leaves", "text/x.tlog.size"),
        Reply(409, b"7\n", "text/plain"),
        Reply(409, b"9" * 30, "text/x.tlog.size"),
        Reply(500, b"oops"),
        Reply(302, b""),
    ],
)
async def test_other_answers_are_said_and_nothing_is_kept(reply: Reply):
    log = await sealed_log()
    sealed = await log.grow(50)
    async with serving(always(reply)) as url:
        with pytest.raises(AnchorFailed, match=url):
            await anchor_at(url, witness_for(log.signer.key)).anchor(sealed, log.proof_to(sealed))


async def test_a_slow_witness_is_left_at_the_timeout():
    log = await sealed_log()
    sealed = await log.grow(2)
    async with serving(always(Reply(raw=b"", hang=True))) as url:
        with pytest.raises(AnchorFailed, match=r"within 0\.2 s"):
            await anchor_at(url, witness_for(log.signer.key), timeout_s=0.2).anchor(
                sealed, log.proof_to(sealed)
            )
