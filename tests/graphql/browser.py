"""A headless Chromium by its debugging protocol: what a page asks for, says, and shows."""

import asyncio
import base64
import itertools
import shutil
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import orjson
import websockets
from websockets.asyncio.client import ClientConnection

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
# No service of the browser's own may look for a network.
FLAGS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-default-apps",
    "--disable-dev-shm-usage",
    "--remote-debugging-port=0",
    "--remote-allow-origins=*",
    "--window-size=1400,850",
]


class Page:
    """One tab. ``requests`` are the addresses it asked for, ``complaints`` its errors and refusals."""

    def __init__(self, socket: ClientConnection) -> None:
        self._socket = socket
        self._ids = itertools.count(1)
        self._answers: dict[int, asyncio.Future[Any]] = {}
        self.requests: list[str] = []
        self.complaints: list[str] = []

    async def read(self) -> None:
        """Take in what the browser says, until it is gone."""
        async for raw in self._socket:
            message = orjson.loads(raw)
            if "id" in message:
                self._answers.pop(message["id"]).set_result(message)
            else:
                self._note(message["method"], message["params"])

    def _note(self, method: str, params: Any) -> None:
        self._complain(method, params)
        if method == "Network.requestWillBeSent":
            self.requests.append(params["request"]["url"])
        elif method == "Network.webSocketCreated":
            self.requests.append(params["url"])

    def _complain(self, method: str, params: Any) -> None:
        text = None
        if method == "Runtime.exceptionThrown":
            text = str(params["exceptionDetails"])
        elif method == "Log.entryAdded" and params["entry"]["level"] == "error":
            text = f"{params['entry'].get('url', '')} {params['entry']['text']}"
        elif method == "Runtime.consoleAPICalled" and params["type"] == "error":
            text = str([arg.get("value", arg.get("description")) for arg in params["args"]])
        if text is not None:
            self.complaints.append(text[:300])

    async def call(self, method: str, **params: Any) -> Any:
        number = next(self._ids)
        self._answers[number] = asyncio.get_running_loop().create_future()
        await self._socket.send(orjson.dumps({"id": number, "method": method, "params": params}).decode())
        async with asyncio.timeout(30):
            answer = await self._answers[number]
        assert "error" not in answer, answer
        return answer["result"]

    async def open(self, url: str) -> None:
        for domain in ("Page", "Network", "Runtime", "Log"):
            await self.call(f"{domain}.enable")
        await self.call("Page.navigate", url=url)

    async def evaluate(self, expression: str) -> Any:
        answer = await self.call(
            "Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True
        )
        assert "exceptionDetails" not in answer, answer["exceptionDetails"]
        return answer["result"].get("value")

    async def until(self, expression: str, within_s: float = 30.0) -> None:
        """Wait until ``expression`` is true."""
        asked = f"(() => {{ try {{ return !!({expression}) }} catch {{ return false }} }})()"
        try:
            async with asyncio.timeout(within_s):
                while not await self.evaluate(asked):
                    await asyncio.sleep(0.1)
        except TimeoutError:
            seen = await self.evaluate("document.body.innerText.slice(0, 2000)")
            raise AssertionError(f"never true: {expression}\n{self.complaints}\n{seen}") from None

    async def screenshot(self, file: Path) -> None:
        data = (await self.call("Page.captureScreenshot", format="png"))["data"]
        await asyncio.to_thread(file.write_bytes, base64.b64decode(data))


@asynccontextmanager
async def browser() -> AsyncIterator[Page]:
    """A fresh Chromium with one empty tab."""
    assert CHROMIUM is not None
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        process = await asyncio.create_subprocess_exec(
            CHROMIUM,
            *FLAGS,
            f"--user-data-dir={profile}",
            "about:blank",
            stderr=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.DEVNULL,
        )
        try:
            address = await _tab(Path(profile))
            async with websockets.connect(address, max_size=None, proxy=None) as socket:
                page = Page(socket)
                reading = asyncio.create_task(page.read())
                try:
                    yield page
                finally:
                    reading.cancel()
                    with suppress(asyncio.CancelledError, websockets.ConnectionClosed):
                        await reading
        finally:
            with suppress(ProcessLookupError):
                process.terminate()
            await process.wait()


async def _tab(profile: Path) -> str:
    """The address of the first tab's debugging socket, as soon as there is one."""
    file = profile / "DevToolsActivePort"
    async with asyncio.timeout(30):
        while not await asyncio.to_thread(file.exists) or not (lines := file.read_text().split()):
            await asyncio.sleep(0.05)
        while True:
            for target in await _targets(int(lines[0])):
                if target["type"] == "page":
                    return str(target["webSocketDebuggerUrl"])
            await asyncio.sleep(0.05)


async def _targets(port: int) -> Any:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(f"GET /json/list HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nConnection: close\r\n\r\n".encode())
    head = (await reader.readuntil(b"\r\n\r\n")).lower()
    body = await reader.readexactly(int(head.partition(b"content-length:")[2].split()[0]))
    writer.close()
    return orjson.loads(body)
