"""Static files at the ASGI layer: what is under STATIC_URL never enters Django, found or not."""

import gzip

import pytest
from django.contrib.staticfiles.storage import staticfiles_storage
from django.core.management import call_command

from intellicolab.assets import CHUNK, StaticFiles
from tests.test_http import Exchange

CSS = b"body { color: black }\n" * 100
FILM = bytes(range(256)) * 1000


async def beyond(scope, receive, send) -> None:
    """Stands for Django."""
    await send({"type": "http.response.start", "status": 299, "headers": []})
    await send({"type": "http.response.body", "body": b"Django"})


@pytest.fixture
def source(tmp_path, settings):
    """An app's own files, one small and one larger than a chunk."""
    folder = tmp_path / "source"
    folder.mkdir()
    (folder / "site.css").write_bytes(CSS)
    (folder / "film.mp4").write_bytes(FILM)
    settings.STATICFILES_DIRS = [folder]
    settings.STATICFILES_FINDERS = ["django.contrib.staticfiles.finders.FileSystemFinder"]
    settings.STATIC_ROOT = tmp_path / "static"
    return folder


@pytest.fixture
def app(source, settings) -> StaticFiles:
    storage = {"BACKEND": "intellicolab.staticfiles.ModuleManifestStorage"}
    settings.STORAGES = {**settings.STORAGES, "staticfiles": storage}
    call_command("collectstatic", interactive=False, verbosity=0)
    return StaticFiles(beyond)


async def get(app, path: str, **options) -> Exchange:
    headers = [(name.encode(), value.encode()) for name, value in options.pop("headers", {}).items()]
    return await Exchange(app, path, headers=headers, **options).end_body().run()


async def test_a_file_has_its_type_and_may_not_be_guessed_at(app):
    exchange = await get(app, "/static/site.css")
    assert (exchange.status, exchange.content) == (200, CSS)
    headers = dict(exchange.headers)
    assert headers["content-type"].startswith("text/css")
    assert headers["content-length"] == str(len(CSS))
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["cache-control"] == "max-age=60, public"
    assert "access-control-allow-origin" not in headers


async def test_a_hashed_name_is_cached_for_ever(app):
    url = staticfiles_storage.url("site.css")
    assert url != "/static/site.css"
    exchange = await get(app, url)
    assert exchange.content == CSS
    assert "immutable" in dict(exchange.headers)["cache-control"]


async def test_a_browser_that_can_gets_gzip(app):
    exchange = await get(app, "/static/site.css", headers={"accept-encoding": "gzip, br"})
    headers = dict(exchange.headers)
    assert (headers["content-encoding"], headers["vary"]) == ("gzip", "Accept-Encoding")
    assert gzip.decompress(exchange.content) == CSS


async def test_what_the_browser_has_is_not_sent_again(app):
    headers = dict((await get(app, "/static/site.css")).headers)
    for asked in ({"if-none-match": headers["etag"]}, {"if-modified-since": headers["last-modified"]}):
        exchange = await get(app, "/static/site.css", headers=asked)
        assert (exchange.status, exchange.content) == (304, b"")
    assert (await get(app, "/static/site.css", headers={"if-none-match": '"older"'})).status == 200


async def test_a_head_request_has_no_body(app):
    exchange = await get(app, "/static/site.css", method="HEAD")
    assert (exchange.status, exchange.content) == (200, b"")
    assert dict(exchange.headers)["content-length"] == str(len(CSS))


async def test_a_large_file_is_sent_in_chunks(app):
    exchange = await get(app, "/static/film.mp4")
    assert exchange.content == FILM
    assert max(len(message["body"]) for message in exchange.sent[1:] if "body" in message) == CHUNK


async def test_a_range_is_sent_as_asked(app):
    exchange = await get(app, "/static/film.mp4", headers={"range": "bytes=1000-1999"})
    assert (exchange.status, exchange.content) == (206, FILM[1000:2000])
    assert dict(exchange.headers)["content-range"] == f"bytes 1000-1999/{len(FILM)}"
    assert (await get(app, "/static/film.mp4", headers={"range": "bytes=9999999-"})).status == 416


async def test_a_range_of_an_older_file_is_not_mixed_with_the_new(app):
    etag = dict((await get(app, "/static/film.mp4")).headers)["etag"]
    for known, status in ((etag, 206), ('"older"', 200)):
        exchange = await get(app, "/static/film.mp4", headers={"range": "bytes=5-9", "if-range": known})
        assert exchange.status == status


@pytest.mark.parametrize(
    "path", ["/static/none.css", "/static/", "/static/../settings.py", "/static//etc/passwd", "/static/site.css/"]
)
async def test_an_unknown_path_is_a_404_that_never_enters_django(app, path):
    exchange = await get(app, path)
    assert (exchange.status, exchange.content) == (404, b"")


async def test_files_are_only_read(app):
    exchange = await get(app, "/static/site.css", method="POST")
    assert exchange.status == 405
    assert dict(exchange.headers)["allow"] == "GET, HEAD"


@pytest.mark.parametrize("path", ["/", "/static", "/rooms/1/"])
async def test_every_other_path_is_django_s(app, path):
    assert (await get(app, path)).content == b"Django"


async def test_while_developing_a_change_shows_at_once(source, settings):
    settings.DEBUG = True
    app = StaticFiles(beyond)
    assert (await get(app, "/static/site.css")).content == CSS
    (source / "site.css").write_bytes(b"new")
    exchange = await get(app, "/static/site.css")
    assert exchange.content == b"new"
    assert dict(exchange.headers)["cache-control"] == "max-age=0, public"
    assert (await get(app, "/static/../conftest.py")).status == 404


async def test_without_collected_files_all_is_404(source):
    assert (await get(StaticFiles(beyond), "/static/site.css")).status == 404
