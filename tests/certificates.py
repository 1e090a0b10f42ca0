"""A certificate authority of our own and what it signs, made by the openssl program."""

import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest

# Not ed25519: PostgreSQL's channel binding knows no digest for it.
KEY = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes")

# Python 3.13 verifies strictly: RFC 5280's key usage and key identifiers have to be there.
LEAF = "basicConstraints=CA:FALSE\nsubjectKeyIdentifier=hash\nauthorityKeyIdentifier=keyid\n"


@dataclass(frozen=True)
class Authority:
    """``issue`` writes NAME.crt and NAME.key into the directory."""

    directory: Path

    @property
    def certificate(self) -> Path:
        return self.directory / "ca.crt"

    def issue(self, name: str, *, alternatives: str = "") -> tuple[Path, Path]:
        """A certificate for ``name``; ``alternatives`` such as ``DNS:localhost,IP:127.0.0.1``."""
        request, key = self.directory / f"{name}.csr", self.directory / f"{name}.key"
        certificate, extensions = self.directory / f"{name}.crt", self.directory / f"{name}.ext"
        names = f"subjectAltName={alternatives}\n" if alternatives else ""
        extensions.write_text(f"{LEAF}{names}")
        _openssl("req", *KEY, "-subj", f"/CN={name}", "-keyout", key, "-out", request)
        signed_by = ("-CA", self.certificate, "-CAkey", self.directory / "ca.key", "-CAcreateserial")
        _openssl(
            "x509",
            "-req",
            "-days",
            "2",
            "-in",
            request,
            *signed_by,
            "-extfile",
            extensions,
            "-out",
            certificate,
        )
        return certificate, key


def authority(directory: Path) -> Authority:
    if shutil.which("openssl") is None:
        pytest.skip("the openssl program is not installed: no certificates to test with")
    _openssl(
        *("req", "-x509", *KEY, "-days", "2", "-subj", "/CN=a CA of the tests"),
        *("-addext", "keyUsage=critical,keyCertSign,cRLSign"),
        *("-keyout", directory / "ca.key", "-out", directory / "ca.crt"),
    )
    return Authority(directory)


def _openssl(*words: object) -> None:
    done = subprocess.run(["openssl", *map(str, words)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
