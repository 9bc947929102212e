"""What requests wait for: models that are not in memory, and changes of aliases. Any thread asks, one answers."""

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any, TypeVar

from services.gateway.predict.models import LoadedModel
from services.gateway.predict.promotion import Promotion
from services.gateway.predict.store import Catalog
from shared.errors import UnavailableError

Wish = tuple[str, str | None, int]
"""A run's id, the alias asked for (None: a step of its own), and the step that is to answer."""

Result = TypeVar("Result")

Order = Callable[[Promotion, Catalog], Result]
"""Something about aliases that is to be done by the predictor's thread."""


@dataclass
class Post:
    """What was waiting at one moment.

    Attributes:
        wishes: Models that are waited for.
        orders: What is to be done about aliases.
    """

    wishes: dict[Wish, Future[LoadedModel]] = field(default_factory=dict)
    orders: list[tuple[Order[Any], Future[Any]]] = field(default_factory=list)

    def disappoint(self) -> None:
        """Tells everybody who has had no answer that there will be none."""
        for (run_id, _, _), wished in self.wishes.items():
            if not wished.done():
                wished.set_exception(UnavailableError("it cannot be loaded now", where=f"run {run_id}"))
        for _, done in self.orders:
            if not done.done():
                done.set_exception(UnavailableError("aliases cannot be changed now"))


class Inbox:
    """Collects wishes and orders until they are taken.

    Args:
        wake: Called when there is something.
    """

    def __init__(self, *, wake: Callable[[], None]) -> None:
        self._wake = wake
        self._lock = threading.Lock()
        self._post = Post()

    async def model(self, wish: Wish) -> LoadedModel:
        """The model that is wished for, once it is there; raises why it cannot be."""
        with self._lock:
            future = self._post.wishes.setdefault(wish, Future())
        self._wake()
        # Shielded: others may wait for the same load, so who gives up must not cancel it.
        return await asyncio.shield(asyncio.wrap_future(future))

    async def change(self, order: Order[Result]) -> Result:
        """Waits until an order is carried out; returns or raises what that does."""
        future: Future[Result] = Future()
        with self._lock:
            self._post.orders.append((order, future))
        self._wake()
        return await asyncio.shield(asyncio.wrap_future(future))

    def take(self) -> Post:
        """What waits now; the inbox is empty afterwards."""
        with self._lock:
            post, self._post = self._post, Post()
        return post
