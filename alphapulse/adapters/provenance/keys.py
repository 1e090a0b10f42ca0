"""Ed25519 keys of the log: a private one in a file of its owner alone, and the check of signatures.

The file holds one line as golang.org/x/mod/sumdb/note writes it:
``PRIVATE+KEY+<name>+<key id>+<base64 of the type and the 32 bytes of the seed>``.
"""

import base64
import os
from pathlib import Path

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from alphapulse.domain.provenance.notes import ED25519, BadNote, NoteKey, decode_base64

_PREFIX = "PRIVATE+KEY+"


class KeySigner:
    """Signs with a private key under a name."""

    def __init__(self, name: str, seed: bytes) -> None:
        """``seed`` is the private key of RFC 8032: 32 bytes."""
        self._private = Ed25519PrivateKey.from_private_bytes(seed)
        self._seed = seed
        self._key = NoteKey(name, ED25519, self._private.public_key().public_bytes_raw())

    @property
    def key(self) -> NoteKey:
        return self._key

    def sign(self, message: bytes) -> bytes:
        return self._private.sign(message)

    def secret(self) -> str:
        """What the file of the key holds. Never show it."""
        data = base64.b64encode(bytes([ED25519]) + self._seed).decode()
        return f"{_PREFIX}{self._key.name}+{self._key.id.hex()}+{data}"

    def __repr__(self) -> str:
        return f"KeySigner({self._key})"


def signer_of(secret: str) -> KeySigner:
    """Raises BadNote, without the secret: it is no private key, or not of the name and id that it says."""
    parts = secret.strip().removeprefix(_PREFIX).split("+", 2)
    if not secret.strip().startswith(_PREFIX) or len(parts) != 3:
        raise BadNote(f"no private key: it is not {_PREFIX}name+id+base64")
    try:
        data = decode_base64(parts[2])
    except BadNote:
        raise BadNote(f"the private key of {parts[0]} is not base64") from None
    if len(data) != 33 or data[0] != ED25519:
        raise BadNote(f"the private key of {parts[0]} is not of Ed25519: {len(data)} bytes")
    signer = KeySigner(parts[0], data[1:])
    if signer.key.id.hex() != parts[1].lower():
        raise BadNote(f"the private key of {parts[0]} has id {signer.key.id.hex()}, not {parts[1]}")
    return signer


def load_signer(path: Path) -> KeySigner:
    """Raises OSError, and BadNote with the path: see ``signer_of``."""
    try:
        return signer_of(path.read_text())
    except (BadNote, UnicodeDecodeError) as error:
        raise BadNote(f"{path}: {error}") from None


def load_or_create_signer(path: Path, name: str | None) -> KeySigner:
    """The key in ``path``, made now if there is none: under ``name``, or a random one where that is None.

    Two that do so at once get the same.

    Raises:
        OSError: the file cannot be read or made.
        BadNote: it holds no key, or one of another name.
    """
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        made = KeySigner(name or f"alphapulse/{os.urandom(8).hex()}", os.urandom(32))
        _write_once(path, made.secret() + "\n")
    signer = load_signer(path)
    if name not in (None, signer.key.name):
        raise BadNote(f"{path}: a key of {signer.key.name}, and this log is {name}")
    return signer


def _write_once(path: Path, text: str) -> None:
    """Put ``text`` into ``path`` durably and whole, for its owner alone, unless the file is there."""
    made = path.with_name(f".{path.name}.{os.getpid()}.{os.urandom(4).hex()}")
    descriptor = os.open(made, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(descriptor, "w") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        try:
            os.link(made, path)
        except FileExistsError:
            return
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
    finally:
        made.unlink()


def ed25519(public: bytes, message: bytes, signature: bytes) -> bool:
    """Whether ``signature`` over ``message`` is of ``public`` (RFC 8032)."""
    try:
        Ed25519PublicKey.from_public_bytes(public).verify(signature, message)
    except (InvalidSignature, ValueError):
        return False
    return True
