"""The page put together: its own files, and those of the library that draws."""

from fastapi import APIRouter

from services.gateway.web import assets, library, routes


def make_router() -> APIRouter:
    """The routes of the page. Reads its files once; they stay in memory."""
    drawing = {f"vendor/{name}": assets.asset(name, data) for name, data in library.load(library.locate()).items()}
    return routes.router({**assets.read(assets.STATIC), **drawing})
