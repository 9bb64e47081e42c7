"""A worker's web server: its own pages and no others, and no word of what it is made of."""

from __future__ import annotations

from aiohttp import ClientSession
from faust.web import Request, Response, Web

from engine.runtime.app import faust_app
from engine.runtime.settings import Settings
from tests.services.process import free_port


async def test_a_worker_shows_its_own_pages_alone() -> None:
    port = free_port()
    app = faust_app(Settings(web_port=port))

    @app.page("/health")
    async def health(web: Web, _request: Request) -> Response:
        return web.json({"ready": True})

    await app.start()
    try:
        async with ClientSession(f"http://127.0.0.1:{port}") as client:
            found = {path: await client.get(path) for path in ("/health", "/router/", "/table/", "/stats/", "/nothing")}
        assert {path: answer.status for path, answer in found.items()} == dict.fromkeys(found, 404) | {"/health": 200}
        assert {answer.headers["Server"] for answer in found.values()} == {"engage"}
    finally:
        await app.stop()
