"""A socket between the store and PostgreSQL that can hide replies, cut connections, and turn callers away."""

import asyncio
import contextlib
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

from psycopg.conninfo import conninfo_to_dict, make_conninfo


class Proxy:
    """``url`` leads to ``database_url`` through this proxy."""

    def __init__(self, database_url: str, directory: Path) -> None:
        self._target = Path(parse_qs(urlsplit(database_url).query)["host"][0]) / ".s.PGSQL.5432"
        self._socket = directory / ".s.PGSQL.5432"
        given = conninfo_to_dict(database_url)
        self.url = f"postgresql://{given['user']}@/{given['dbname']}?host={directory}"
        assert make_conninfo(self.url)
        self.hides_replies = False  # what the server says is lost from now on
        self.refuses = False  # new connections are turned away
        self.hidden = asyncio.Event()  # a reply has been lost
        self._server: asyncio.Server | None = None
        self._open: set[asyncio.StreamWriter] = set()
        self._serving: set[asyncio.Task[None]] = set()

    async def start(self) -> None:
        self._server = await asyncio.start_unix_server(self._serve, self._socket)

    async def stop(self) -> None:
        assert self._server is not None
        self._server.close()
        self.cut()
        await asyncio.gather(*self._serving)
        await self._server.wait_closed()

    def cut(self) -> None:
        """Every connection ends now."""
        for writer in list(self._open):
            writer.transport.abort()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self.refuses:
            writer.transport.abort()
            return
        task = asyncio.current_task()
        assert task is not None
        self._serving.add(task)
        task.add_done_callback(self._serving.discard)
        far_reader, far_writer = await asyncio.open_unix_connection(self._target)
        self._open |= {writer, far_writer}
        try:
            await asyncio.wait(
                {
                    asyncio.create_task(self._pump(reader, far_writer, replies=False)),
                    asyncio.create_task(self._pump(far_reader, writer, replies=True)),
                },
            )
        finally:
            self._open -= {writer, far_writer}

    async def _pump(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, replies: bool
    ) -> None:
        with contextlib.suppress(OSError):
            while data := await reader.read(65_536):
                if replies and self.hides_replies:
                    self.hidden.set()
                else:
                    writer.write(data)
                    await writer.drain()
        writer.transport.abort()


@contextlib.asynccontextmanager
async def proxy_to(database_url: str) -> AsyncIterator[Proxy]:
    with tempfile.TemporaryDirectory(prefix="alphapulse-proxy-") as directory:
        proxy = Proxy(database_url, Path(directory))
        await proxy.start()
        try:
            yield proxy
        finally:
            await proxy.stop()
