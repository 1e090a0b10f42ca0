"""Questions over HTTP: every limit, and what happens at it."""

import asyncio
import ssl
import time
from pathlib import Path

import pytest

from alphapulse.adapters.provenance import http
from alphapulse.adapters.provenance.http import ask
from alphapulse.domain.provenance.anchors import AnchorFailed
from tests.adapters.anchors.servers import Reply, Request, always, serving
from tests.certificates import authority


async def test_an_answer_comes_with_its_status_kind_and_body():
    async def echo(request: Request) -> Reply:
        said = f"{request.method} {request.path} {request.headers['x-asked']} ".encode()
        return Reply(418, said + request.body, "text/tea; charset=utf-8")

    async with serving(echo) as url:
        posted = await ask(f"{url}/a/b", b"body", headers={"X-Asked": "yes"})
        got = await ask(url, headers={"X-Asked": "no"})
    assert (posted.status, posted.kind, posted.body) == (
        418,
        "text/tea; charset=utf-8",
        b"POST /a/b yes body",
    )
    assert got.body == b"GET / no "


async def test_an_answer_as_long_as_allowed_is_taken_and_one_byte_more_is_not():
    async with serving(always(Reply(body=b"x" * 1000))) as url:
        assert len((await ask(url, most=1000)).body) == 1000
        with pytest.raises(AnchorFailed, match="more than 999 bytes"):
            await ask(url, most=999)


async def test_an_endless_answer_is_left_at_the_limit():
    chunk = b"8000\r\n" + b"x" * 0x8000 + b"\r\n"
    raw = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + chunk * 20
    async with serving(always(Reply(raw=raw, hang=True))) as url:
        with pytest.raises(AnchorFailed, match="more than 100000 bytes"):
            await ask(url)


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"HTTP/1.1 200 OK\r\nContent-Len",
        b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nfive!",
        b"SSH-2.0-OpenSSH\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nX: " + b"y" * 200_000 + b"\r\n\r\n",
    ],
)
async def test_an_answer_that_is_cut_or_no_http_is_none(raw: bytes):
    async with serving(always(Reply(raw=raw))) as url:
        with pytest.raises(AnchorFailed, match=url):
            await ask(url)


async def test_silence_and_a_drip_end_at_the_same_time():
    async def drip(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            writer.write(b"HTTP/1.1 200 OK\r\n")
            while not writer.is_closing():
                writer.write(b"X-Slow: 1\r\n")
                await writer.drain()
                await asyncio.sleep(0.05)
        except ConnectionError:
            pass
        finally:
            writer.close()

    async with serving(always(Reply(raw=b"HTTP/1.1 200 OK\r\n", hang=True))) as silent:
        started = time.monotonic()
        with pytest.raises(AnchorFailed, match=r"within 0\.3 s"):
            await ask(silent, timeout_s=0.3)
        assert time.monotonic() - started < 5
    server = await asyncio.start_server(drip, "127.0.0.1", 0)
    async with server:
        with pytest.raises(AnchorFailed, match=r"within 0\.3 s"):
            await ask(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}", timeout_s=0.3)
        await asyncio.sleep(0.2)  # the drip notices that nobody listens


async def test_nobody_there_is_said_with_the_address():
    async with serving(always(Reply())) as url:
        pass
    with pytest.raises(AnchorFailed, match=url):
        await ask(url)


async def test_a_redirect_is_an_answer_and_is_not_followed():
    async def away(request: Request) -> Reply:
        return Reply(raw=b"HTTP/1.1 302 F\r\nLocation: http://127.0.0.1:1/\r\nContent-Length: 0\r\n\r\n")

    async with serving(away) as url:
        assert (await ask(url)).status == 302


async def test_over_tls_only_a_certificate_of_a_trusted_authority_is_believed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    ours = authority(tmp_path)
    certificate, key = ours.issue("anchor", alternatives="DNS:localhost,IP:127.0.0.1")
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate, key)

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(Reply(body=b"secret").data())
        writer.close()

    server = await asyncio.start_server(connected, "127.0.0.1", 0, ssl=context)
    async with server:
        url = f"https://127.0.0.1:{server.sockets[0].getsockname()[1]}/"
        with pytest.raises(AnchorFailed, match="CERTIFICATE_VERIFY_FAILED"):
            await ask(url)
        monkeypatch.setenv("SSL_CERT_FILE", str(ours.certificate))
        assert (await ask(url)).body == b"secret"


def test_what_is_said_of_an_answer_is_short():
    assert http.Answer(500, "", b"oops\n").said == "status 500: 'oops'"
    assert len(http.Answer(500, "", b"o" * 10_000).said) < 230
    assert http.Answer(204, "", b"").said == "status 204"
