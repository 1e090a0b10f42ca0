"""A time-stamping authority made of the openssl program, on an HTTP server of the test."""

import shutil
import subprocess
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import pytest

from tests.adapters.anchors.servers import Reply, Request

_CONFIG = """
[req]
distinguished_name = dn
[dn]
[tsa]
default_tsa = here
[here]
serial = {folder}/serial
signer_cert = {folder}/tsa.pem
certs = {folder}/ca.pem
signer_key = {folder}/tsa.key
signer_digest = sha256
default_policy = 1.2.3.4.1
digests = sha256, sha512
accuracy = secs:1
clock_precision_digits = {digits}
ordering = no
ess_cert_id_chain = no
ess_cert_id_alg = sha256
"""
_KEYS = {
    "ec": ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1"),
    "p384": ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:secp384r1"),
    "rsa": ("-newkey", "rsa:2048"),
}


@dataclass
class Authority:
    """Answers as ``openssl ts`` does."""

    folder: Path

    @property
    def roots(self) -> Path:
        return self.folder / "ca.pem"

    async def __call__(self, request: Request) -> Reply:
        assert request.headers["content-type"] == "application/timestamp-query"
        return Reply(200, self.answer(request.body), "application/timestamp-reply")

    def answer(self, query: bytes) -> bytes:
        (self.folder / "query").write_bytes(query)
        _openssl(self.folder, "ts", "-reply", "-config", "tsa.conf", "-queryfile", "query", "-out", "reply")
        return (self.folder / "reply").read_bytes()


def make_authority(folder: Path, key: str = "ec", digits: int = 0) -> Authority:
    """``digits``: of the fraction of a second in its times."""
    if shutil.which("openssl") is None:
        pytest.skip("no openssl here to play the time-stamping authority")
    folder.mkdir()
    (folder / "serial").write_text("01\n")
    (folder / "tsa.conf").write_text(_CONFIG.format(folder=folder, digits=digits))
    (folder / "tsa.ext").write_text("extendedKeyUsage=critical,timeStamping\nbasicConstraints=CA:FALSE\n")
    new = ("req", *_KEYS[key], "-nodes", "-config", "tsa.conf")
    _openssl(
        folder, *new, "-x509", "-days", "2", "-subj", "/CN=Root", "-keyout", "ca.key", "-out", "ca.pem",
        "-addext", "basicConstraints=critical,CA:TRUE", "-addext", "keyUsage=critical,keyCertSign,cRLSign",
    )  # fmt: skip
    _openssl(folder, *new, "-subj", "/CN=Test TSA", "-keyout", "tsa.key", "-out", "tsa.csr")
    _openssl(
        folder, "x509", "-req", "-days", "2", "-in", "tsa.csr", "-CA", "ca.pem", "-CAkey", "ca.key",
        "-CAcreateserial", "-extfile", "tsa.ext", "-out", "tsa.pem",
    )  # fmt: skip
    return Authority(folder)


def openssl_verifies(folder: Path, response: bytes, message: bytes, roots: Path) -> bool:
    """What ``openssl ts -verify`` says: a second opinion."""
    (folder / "response.tsr").write_bytes(response)
    (folder / "message").write_bytes(message)
    command = ("openssl", "ts", "-verify", "-in", "response.tsr", "-data", "message", "-CAfile", str(roots))
    return subprocess.run(command, cwd=folder, capture_output=True, timeout=30, check=False).returncode == 0


def openssl_tells(folder: Path, response: bytes) -> str:
    """The time in ``response`` as ``openssl ts`` prints it, the day as numbers."""
    (folder / "response.tsr").write_bytes(response)
    command = ("openssl", "ts", "-reply", "-in", "response.tsr", "-text")
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=30, check=True)
    line = next(line for line in done.stdout.splitlines() if line.startswith("Time stamp: "))
    month, day, clock, year, _ = line.removeprefix("Time stamp: ").split()
    return f"{datetime.strptime(f'{year} {month} {day} +0000', '%Y %b %d %z'):%Y-%m-%d} {clock}"


def _openssl(folder: Path, *words: str) -> None:
    done = subprocess.run(("openssl", *words), cwd=folder, capture_output=True, timeout=30, check=False)
    assert done.returncode == 0, f"openssl {' '.join(words)}: {done.stderr.decode()}"
