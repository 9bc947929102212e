"""The page put together: its own files, and those of the libraries that it uses."""

from fastapi import APIRouter

from services.gateway.web import assets, library, routes


def make_router() -> APIRouter:
    """The routes of the page. Reads its files once; they stay in memory."""
    files = assets.read(assets.STATIC)
    for each in library.LIBRARIES:
        files |= {
            f"vendor/{name}": assets.asset(name, data)
            for name, data in library.load(each, library.locate(each)).items()
        }
    return routes.router(files)
