"""What the routes work with, and how a route says which part it needs: by the type of an argument.

@routes.get("/{run}")
def show_run(run: RunId, runs: NeedsRuns) -> RunView: ...
"""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Protocol, cast

from fastapi import Depends, Request
from prometheus_client import CollectorRegistry

from services.gateway.access.audit import CALL, Call
from services.gateway.encoded import EncodedViews
from services.gateway.pictures import Pictures
from services.gateway.series import SeriesReader
from services.gateway.steering.control import RunControl
from services.gateway.steering.situations import Situations
from services.gateway.steering.slots import Slots
from services.gateway.steering.starting import RunStarter
from services.gateway.streams.streams import Streams


class Ready(Protocol):
    """Something that says whether it can do its work now."""

    def why_not_ready(self) -> str | None:
        """The reason in words, or None if it is ready."""
        ...


@dataclass(frozen=True)
class Parts:
    """Everything a route may need.

    Attributes:
        runs: Tells how runs stand.
        starter: Starts new ones.
        control: Changes what is desired of those that are there.
        slots: What is seen of the slots.
        predictor: Asked only whether a judged model is loaded; its routes bring what else they need.
        streams: Tells what happens, as it happens.
        checks: Asked by `/readyz`, by name.
        recipes_folder: Where the recipes lie.
        pictures: Gives out test pictures.
        series: Reads curves.
        views: Encodes runs.
    """

    runs: Situations
    starter: RunStarter
    control: RunControl
    slots: Slots
    predictor: Ready
    streams: Streams
    checks: dict[str, Ready]
    recipes_folder: Path
    pictures: Pictures
    series: SeriesReader = field(default_factory=SeriesReader)
    views: EncodedViews = field(default_factory=EncodedViews)


def _parts(request: Request) -> Parts:
    return cast(Parts, request.app.state.parts)


def _registry(request: Request) -> CollectorRegistry:
    return cast(CollectorRegistry, request.app.state.registry)


def _runs(request: Request) -> Situations:
    return _parts(request).runs


def _starter(request: Request) -> RunStarter:
    return _parts(request).starter


def _control(request: Request) -> RunControl:
    return _parts(request).control


def _series(request: Request) -> SeriesReader:
    return _parts(request).series


def _pictures(request: Request) -> Pictures:
    return _parts(request).pictures


def _streams(request: Request) -> Streams:
    return _parts(request).streams


def _views(request: Request) -> EncodedViews:
    return _parts(request).views


def _call(request: Request) -> Call:
    return cast(Call, request.scope[CALL])


NeedsCall = Annotated[Call, Depends(_call)]
NeedsControl = Annotated[RunControl, Depends(_control)]
NeedsParts = Annotated[Parts, Depends(_parts)]
NeedsPictures = Annotated[Pictures, Depends(_pictures)]
NeedsRegistry = Annotated[CollectorRegistry, Depends(_registry)]
NeedsRuns = Annotated[Situations, Depends(_runs)]
NeedsSeries = Annotated[SeriesReader, Depends(_series)]
NeedsStarter = Annotated[RunStarter, Depends(_starter)]
NeedsStreams = Annotated[Streams, Depends(_streams)]
NeedsViews = Annotated[EncodedViews, Depends(_views)]
