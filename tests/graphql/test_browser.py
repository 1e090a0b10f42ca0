"""The pages in a real browser: queries and subscriptions run, the chart moves, nothing comes from outside."""

from urllib.parse import quote

import pytest

from alphapulse.graphql.pages import ASSETS
from tests.graphql.browser import CHROMIUM, Page, browser
from tests.graphql.conftest import Market
from tests.projections.market_log import trades

pytestmark = [
    pytest.mark.skipif(CHROMIUM is None, reason="no Chromium is installed"),
    pytest.mark.skipif(
        not (ASSETS / "graphiql.html").exists(), reason="the assets are not built: web/build.py"
    ),
]

LIVE = 'subscription { candles(instrument: "test:BTC_USD", timeframe: M1) { candles { close } } }'
RESULT = "[...document.querySelectorAll('.graphiql-response .view-line')].map((l) => l.textContent).join(' ')"
RUN = "document.querySelector('.graphiql-execute-button').click() || true"


def only_from(page: Page, port: int) -> None:
    """Every byte that the page asked for came from the API, and it had nothing to complain about."""
    foreign = [
        url for url in page.requests if f"127.0.0.1:{port}/" not in url and not url.startswith("data:")
    ]
    assert foreign == []
    assert page.complaints == []


async def test_graphiql_runs_a_query(market: Market) -> None:
    position = await market.folded(trades([(0, 100, 1)]))
    port = market.api.port
    async with browser() as page:
        await page.open(f"http://127.0.0.1:{port}/graphiql?query={quote('{ log { position } }')}")
        await page.until("document.querySelector('.graphiql-execute-button')")
        await page.until(RUN)
        await page.until(f"{RESULT}.replaceAll('\\u00a0', ' ').includes('\"position\": {position}')")
        only_from(page, port)


async def test_graphiql_runs_a_subscription(market: Market) -> None:
    await market.folded(trades([(0, 100, 1)]))
    port = market.api.port
    async with browser() as page:
        await page.open(f"http://127.0.0.1:{port}/graphiql?query={quote(LIVE)}")
        await page.until("document.querySelector('.graphiql-execute-button')")
        await page.until(RUN)
        await page.until(f"{RESULT}.includes('100')")
        await market.append(trades([(0.5, 123.45, 1)], first_id=2))
        await page.until(f"{RESULT}.includes('123.45')")
        assert f"ws://127.0.0.1:{port}/graphql" in page.requests
        only_from(page, port)


async def test_the_chart_follows_the_market(market: Market) -> None:
    await market.folded(trades([(0, 100, 1), (1, 101, 1)]))
    port = market.api.port
    async with browser() as page:
        await page.open(f"http://127.0.0.1:{port}/")
        await page.until("document.querySelector('#bar').textContent.includes('C 101 ')")
        await page.until("document.querySelectorAll('#chart canvas').length > 0")
        await market.append(trades([(1.5, 99.5, 1)], first_id=3))
        await page.until("document.querySelector('#bar').textContent.includes('C 99.5 ')")
        assert (
            await page.evaluate("document.querySelector('#health').dataset.status") == "degraded"
        )  # no relay
        only_from(page, port)
