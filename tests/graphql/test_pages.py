"""The pages for people: everything they load comes from here, and without built assets they say so."""

import importlib.util
import re
from pathlib import Path
from types import ModuleType

import pytest

from alphapulse.graphql import pages
from tests.graphql.conftest import Api, StartApi

WEB = Path(__file__).parents[2] / "web"


def script() -> ModuleType:
    """``web/build.py``, which is no package."""
    spec = importlib.util.spec_from_file_location("web_build", WEB / "build.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("path", ["/", "/graphiql"])
async def test_pages_are_served_under_a_policy_that_forbids_other_sites(api: Api, path: str) -> None:
    answer = await api.http.request("GET", path)
    assert answer.status == 200
    assert answer.headers["content-type"].startswith("text/html")
    policy = answer.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "http" not in policy
    assert "unsafe-eval" not in policy
    assert answer.headers["x-content-type-options"] == "nosniff"
    loaded = re.findall(r'(?:src|href)="([^"]+)"', answer.body.decode())
    assert all(target.startswith("/") for target in loaded), loaded
    scripts = [target for target in loaded if target.startswith("/assets/")]
    for target in scripts:
        asset = await api.http.request("GET", target)
        assert (asset.status, asset.headers["cache-control"]) == (200, "no-cache"), target
        assert "content-security-policy" in asset.headers


async def test_assets_stay_inside_their_folder(api: Api) -> None:
    for path in ("/assets/../schema.py", "/assets/%2e%2e/schema.py", "/assets/", "/assets/nothing.js"):
        assert (await api.http.request("GET", path)).status == 404


async def test_a_browser_that_has_an_asset_is_not_sent_it_again(api: Api) -> None:
    first = await api.http.request("GET", "/assets/README.md")
    again = await api.http.request(
        "GET", "/assets/README.md", headers={"If-None-Match": first.headers["etag"]}
    )
    assert (again.status, again.body) == (304, b"")


async def test_without_built_assets_a_plain_page_says_where_things_are(
    start_api: StartApi, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(pages, "ASSETS", tmp_path / "missing")
    api = await start_api()
    for path in ("/", "/graphiql"):
        page = await api.http.request("GET", path)
        assert page.status == 200
        assert b"/graphql" in page.body
        assert b"python web/build.py" in page.body
    assert (await api.http.request("GET", "/assets/graphiql.js")).status == 404
    assert (await api.http.post("{ log { position } }")).status == 200


def test_the_lock_pins_every_package_by_hash_and_names_no_address() -> None:
    assert script().check_lock() == []


def test_a_build_that_cannot_reach_what_it_needs_says_so_and_fails_only_when_strict(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    build = script()
    monkeypatch.setattr(build, "STAMP", tmp_path / "stamp")
    monkeypatch.setattr(build, "INSTALLED", tmp_path / "installed")
    monkeypatch.setattr(build, "ASSETS", tmp_path / "assets")
    monkeypatch.setattr(build, "_node", lambda: ("false", ["false"]))
    assert build.main([]) == 0
    said = capsys.readouterr().err
    assert "plain page" in said
    assert "again later" in said
    assert build.main(["--strict"]) == 1


def test_a_build_that_is_up_to_date_does_nothing(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    build = script()
    monkeypatch.setattr(build, "STAMP", tmp_path / "stamp")
    monkeypatch.setattr(build, "_node", lambda: pytest.fail("it looked for Node"))
    build.STAMP.write_text(build.wanted_stamp())
    assert build.main([]) == 0
    assert "up to date" in capsys.readouterr().out
