"""Single test examples of a run: which flipped between two checkpoints, and what they look like."""

from typing import Annotated, Any

from fastapi import APIRouter, Path, Query, Response

from services.gateway import errors
from services.gateway.access.scopes import needs
from services.gateway.flips import FlipsView, flips, kind_named
from services.gateway.parts import NeedsPictures, NeedsRuns
from services.gateway.routes.results import Step, WeightsName
from services.gateway.routes.runs import RunId

routes = APIRouter(prefix="/v1/runs/{run}", tags=["results"])

_PICTURE: dict[int | str, dict[str, Any]] = {
    200: {"content": {"image/png": {"schema": {"type": "string", "format": "binary"}}}}
}


@routes.get("/evaluations/{step}/{weights}/flips", responses=errors.documented(404, 409))
@needs("read")
def show_flips(
    *,
    run: RunId,
    step: Step,
    weights: WeightsName,
    runs: NeedsRuns,
    against: Annotated[
        str | None,
        Query(description="`<step>` or `<step>/<weights>`; by default the judged step before, of the same kind"),
    ] = None,
    limit: Annotated[int, Query(ge=0, le=100_000, description="the most examples listed of each sort")] = 1_000,
) -> FlipsView:
    """Which test examples these weights get right and others got wrong, and the other way round."""
    found = runs.show(run).run
    return flips(found, step=step, kind=kind_named(found, weights), against=against, limit=limit)


@routes.get(
    "/examples/{index}",
    response_class=Response,
    responses={**errors.documented(404, 409), **_PICTURE},
)
@needs("read")
def show_example(
    run: RunId,
    index: Annotated[int, Path(ge=0, le=10**12, description="of the example in the split that is judged")],
    runs: NeedsRuns,
    pictures: NeedsPictures,
) -> Response:
    """The picture of one test example, as PNG in the size that it has in the data set."""
    data, tag = pictures.png(runs.show(run).run.spec.dataset, index)
    return Response(data, media_type="image/png", headers={"etag": tag, "cache-control": "private, max-age=86400"})
