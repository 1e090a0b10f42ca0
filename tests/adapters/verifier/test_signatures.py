"""Ed25519 in plain Python judges as RFC 8032 and OpenSSL do, and more strictly where these leave room."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from alphapulse.adapters.provenance.keys import KeySigner, ed25519
from alphapulse.adapters.verifier.ed25519 import is_signature

ORDER = 2**252 + 27742317777372353535851937790883648493

# RFC 8032 section 7.1: public key, message, signature.
VECTORS = {
    "empty": (
        "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a",
        "",
        (
            "e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e06522490155"
            "5fb8821590a33bacc61e39701cf9b46bd25bf5f0595bbe24655141438e7a100b"
        ),
    ),
    "one byte": (
        "3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c",
        "72",
        (
            "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da"
            "085ac1e43e15996e458f3613d0f11d8c387b2eaeb4302aeeb00d291612bb0c00"
        ),
    ),
    "two bytes": (
        "fc51cd8e6218a1a38da47ed00230f0580816ed13ba3303ac5deb911548908025",
        "af82",
        (
            "6291d657deec24024827e69c3abe01a30ce548a284743a445e3680d7db5ac3ac"
            "18ff9b538d16f290ae67f760984dc6594a7c15e9716ed28dc027beceea1ec40a"
        ),
    ),
    "a digest": (
        "ec172b93ad5e563bf4932c70e1245034c35467ef2efd4d64ebf819683467e2bf",
        (
            "ddaf35a193617abacc417349ae20413112e6fa4e89a97ea20a9eeee64b55d39a"
            "2192992a274fc1a836ba3c23a3feebbd454d4423643ce80e2a9ac94fa54ca49f"
        ),
        (
            "dc2a4459e7369633a52b1bf277839a00201009a3efbf3ecb69bea2186c26b589"
            "09351fc9ac90b3ecfdfbc7c66431e0303dca179c138ac17ad9bef1177331a704"
        ),
    ),
}


@pytest.mark.parametrize("name", VECTORS)
def test_vectors_of_the_rfc_are_accepted(name: str) -> None:
    public, message, signature = map(bytes.fromhex, VECTORS[name])
    assert is_signature(public, message, signature)
    assert not is_signature(public, message + b"x", signature)


@settings(max_examples=25)
@given(seed=st.binary(min_size=32, max_size=32), message=st.binary(max_size=200), bit=st.integers(0, 511))
def test_it_judges_as_openssl_does(seed: bytes, message: bytes, bit: int) -> None:
    signer = KeySigner("x", seed)
    good = signer.sign(message)
    bad = bytearray(good)
    bad[bit // 8] ^= 1 << bit % 8
    for signature in (good, bytes(bad)):
        assert is_signature(signer.key.public, message, signature) == ed25519(
            signer.key.public, message, signature
        )


@settings(max_examples=25)
@given(public=st.binary(min_size=32, max_size=32), signature=st.binary(min_size=64, max_size=64))
def test_bytes_by_chance_are_no_signature(public: bytes, signature: bytes) -> None:
    assert not is_signature(public, b"", signature)


def test_an_s_of_the_order_or_more_is_refused() -> None:
    signer = KeySigner("x", bytes(32))
    good = signer.sign(b"m")
    s = int.from_bytes(good[32:], "little") + ORDER
    assert not is_signature(signer.key.public, b"m", good[:32] + s.to_bytes(32, "little"))


def test_a_public_key_has_one_encoding() -> None:
    one = (1).to_bytes(32, "little")  # the neutral element: with S = 0 and R the same, the equation holds
    again = (1 + 2**255 - 19).to_bytes(32, "little")
    minus_zero = (1 + (1 << 255)).to_bytes(32, "little")
    assert is_signature(one, b"m", one + bytes(32))
    assert not is_signature(again, b"m", one + bytes(32))
    assert not is_signature(minus_zero, b"m", one + bytes(32))
    assert not is_signature(one, b"m", again + bytes(32))


@pytest.mark.parametrize(("public", "signature"), [(31, 64), (33, 64), (32, 63), (32, 65), (32, 0)])
def test_other_lengths_are_refused(public: int, signature: int) -> None:
    assert not is_signature(bytes(public), b"", bytes(signature))
