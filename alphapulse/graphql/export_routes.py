"""``/log/exports/<token>``: bundles that ``auditExport`` has made. The token is the right to fetch one."""

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import FileResponse, PlainTextResponse, Response
from starlette.routing import BaseRoute, Route

from alphapulse.graphql.context import Services
from alphapulse.graphql.downloads import PATH, Gone, NotThere
from alphapulse.graphql.errors import RateLimited
from alphapulse.graphql.http import address

_COST = 1_000  # units: somebody who guesses tokens gets nowhere
_HEADERS = {"cache-control": "no-store", "x-content-type-options": "nosniff"}


class ExportFiles:
    def __init__(self, services: Services) -> None:
        self._services = services

    async def __call__(self, request: Request) -> Response:
        downloads = self._services.downloads
        try:
            self._services.rates.take(address(request), _COST)
            if downloads is None:
                raise NotThere("this server makes no exports")
            path = await run_in_threadpool(downloads.find, request.path_params["token"])
        except NotThere as error:
            return _said(str(error), 404)
        except Gone as error:
            return _said(str(error), 410)
        except RateLimited as error:
            return _said(error.message, 429)
        return FileResponse(path, media_type="application/gzip", filename="audit.tar.gz", headers=_HEADERS)


def routes(services: Services) -> list[BaseRoute]:
    return [Route(f"{PATH}/{{token:str}}", ExportFiles(services).__call__)]


def _said(text: str, status: int) -> Response:
    return PlainTextResponse(f"{text}\n", status, headers=_HEADERS)
