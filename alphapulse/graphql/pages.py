"""The pages for people: where things are, and GraphiQL. Everything they load comes from here.

The assets are built by ``web/build.py``. Where that was not possible, a plain page takes their place.
"""

import re
from pathlib import Path

from starlette.requests import Request
from starlette.responses import FileResponse, HTMLResponse, Response
from starlette.routing import BaseRoute, Mount, Route
from starlette.staticfiles import StaticFiles
from starlette.types import Receive, Scope, Send

ASSETS = Path(__file__).parent / "assets"

# The editor sets styles from scripts; scripts themselves come from our files only.
_POLICY = "; ".join(
    [
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self' 'unsafe-inline'",
        "img-src 'self' data:",
        "font-src 'self' data:",
        "connect-src 'self'",
        "worker-src 'self'",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
    ]
)
HEADERS = {
    "content-security-policy": _POLICY,
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
}

_PLAIN = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>AlphaPulse</title></head><body>
<h1>AlphaPulse</h1>
<p>The API is here, its pages are not: the browser assets were not built, because npm's registry or Node was
out of reach. <code>python web/build.py</code> builds them.</p>
<ul>
<li>GraphQL over HTTP and WebSocket (graphql-transport-ws): <code>/graphql</code></li>
<li>Health: <a href="/health">/health</a>, <a href="/health/ready">/health/ready</a>,
<a href="/health/live">/health/live</a></li>
</ul>
<pre>curl -s HOST:PORT/graphql -H 'content-type: application/json' -d '{"query":"{ log { position } }"}'</pre>
</body></html>
"""


class Assets(StaticFiles):
    """The built files; a browser asks each time whether its copy is still good."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        response = await self.get_response(self.get_path(scope), scope)
        response.headers.update({**HEADERS, "cache-control": "no-cache"})
        await response(scope, receive, send)


def _own_policy(file: Path) -> str:
    """What a page says of itself in its head."""
    found = re.search(r'http-equiv="content-security-policy" content="([^"]+)"', file.read_text())
    return found[1] if found else "default-src 'none'"


def routes() -> list[BaseRoute]:
    """``/``, ``/graphiql``, ``/verify`` and ``/assets``."""
    assets = ASSETS

    async def verify(_request: Request) -> Response:
        """One file with its script inside, and with its own policy, under which only that script runs."""
        file = assets / "verify.html"
        if not file.is_file():
            return HTMLResponse(_PLAIN, headers={**HEADERS, "cache-control": "no-cache"})
        policy = f"{_own_policy(file)}; frame-ancestors 'none'"
        headers = {**HEADERS, "cache-control": "no-cache", "content-security-policy": policy}
        return FileResponse(file, headers=headers)

    def page(name: str) -> Route:
        async def show(_request: Request) -> Response:
            file = assets / name
            headers = {**HEADERS, "cache-control": "no-cache"}
            return (
                FileResponse(file, headers=headers)
                if file.is_file()
                else HTMLResponse(_PLAIN, headers=headers)
            )

        path = "/" if name == "index.html" else f"/{name.removesuffix('.html')}"
        return Route(path, show)

    return [
        page("index.html"),
        page("graphiql.html"),
        Route("/verify", verify),
        Mount("/assets", Assets(directory=assets, check_dir=False)),
    ]
