"""The sealed log as files, by C2SP tlog-tiles: whoever holds the log's key can check all of it from these.

``/log/checkpoint`` is the newest signed checkpoint; ``/log/tile/…`` are the hashes under it, which never
change. Open to everybody and to pages of any site: they hold salted hashes, and nothing of what was hashed.
"""

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from alphapulse.domain.ports import StoreUnavailable
from alphapulse.domain.provenance.tiles import NoTile, Tile
from alphapulse.graphql.context import Services
from alphapulse.graphql.errors import RateLimited
from alphapulse.graphql.http import address

PREFIX = "/log"
_COST = 20  # units of a request: a tile is made of one query
_HEADERS = {"access-control-allow-origin": "*", "x-content-type-options": "nosniff"}
_NOW = {**_HEADERS, "cache-control": "no-cache"}
_FOR_EVER = {**_HEADERS, "cache-control": "public, max-age=31536000, immutable"}


class SealFiles:
    def __init__(self, services: Services) -> None:
        self._services = services

    async def __call__(self, request: Request) -> Response:
        path = request.url.path.removeprefix(f"{PREFIX}/")
        try:
            self._services.rates.take(address(request), _COST)
            return await (self._checkpoint() if path == "checkpoint" else self._tile(path))
        except NoTile as error:
            return _text(f"{error}\n", 404)
        except RateLimited as error:
            wait_s = int((error.extensions or {})["retryAfterS"]) + 1
            return _text(f"{error.message}\n", 429, {"retry-after": str(wait_s)})
        except StoreUnavailable:
            return _text("the database does not answer; try again\n", 503)

    async def _checkpoint(self) -> Response:
        last = await self._services.seals.sealed()
        if last is None:
            return _text("nothing is sealed yet\n", 404)
        return _text(last.note, 200)

    async def _tile(self, path: str) -> Response:
        tile = Tile.parse(path)
        last = await self._services.seals.sealed()
        size = last.size if last else 0
        if not tile.is_in(size):
            return _text(f"{path} is not complete: the tree has {size} leaves\n", 404)
        nodes = tile.nodes
        hashes = await self._services.seals.nodes(nodes)
        body = b"".join(hashes[node] for node in nodes)
        return Response(body, media_type="application/octet-stream", headers=_FOR_EVER)


def routes(services: Services) -> list[BaseRoute]:
    """``/log/checkpoint`` and ``/log/tile/<level>/<number>``, with ``.p/<width>`` for a partial one."""
    files = SealFiles(services)
    return [Route(f"{PREFIX}/{path}", files.__call__) for path in ("checkpoint", "tile/{path:path}")]


def _text(text: str, status: int, more: dict[str, str] | None = None) -> Response:
    return Response(text, status, media_type="text/plain", headers={**_NOW, **(more or {})})
