"""The page with a microphone, and the page that describes the API: plain files, served as such."""

from pathlib import Path

from fastapi import FastAPI
from fastapi.responses import FileResponse
from starlette.staticfiles import StaticFiles

PAGE_DIR = Path(__file__).resolve().parent / "page"


def add_page(app: FastAPI) -> None:
    """Add `/`, `/docs` and the files of both, `/page/...`."""

    def page(name: str) -> FileResponse:
        return FileResponse(PAGE_DIR / name, headers={"Cache-Control": "no-cache"})

    @app.get("/", include_in_schema=False)
    async def index() -> FileResponse:
        return page("index.html")

    # FastAPI's own loads its scripts from elsewhere, which a private network does not have.
    @app.get("/docs", include_in_schema=False)
    async def docs() -> FileResponse:
        return page("docs.html")

    app.mount("/page", StaticFiles(directory=PAGE_DIR))
