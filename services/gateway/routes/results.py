"""What came of a run: its curves, its evaluations, its checkpoints."""

from typing import Annotated

from fastapi import APIRouter, Path, Query

from services.gateway import errors
from services.gateway.access.scopes import needs
from services.gateway.flips import find_verdict, kind_named
from services.gateway.index import Run
from services.gateway.parts import NeedsControl, NeedsRuns, NeedsSeries
from services.gateway.routes.runs import RunId, looks_like
from services.gateway.series import thinned, view
from services.gateway.views import (
    CheckpointsView,
    CheckpointView,
    EvaluationsView,
    SeriesView,
    checkpoint_view,
    evaluation_view,
)
from shared import layout
from shared.checkpoints import CheckpointStore, pinned_steps
from shared.errors import NotFoundError, VolumeError
from shared.layout import MANIFEST
from shared.records import Verdict

Step = Annotated[int, Path(ge=0, le=10**15)]
WeightsName = Annotated[
    str,
    Path(
        description="`raw`; `ema`, the average that is served; or `ema-<decay>`",
        examples=["ema"],
        json_schema_extra=looks_like(f"ema|{layout.WEIGHTS_KIND.pattern}"),
    ),
]

routes = APIRouter(prefix="/v1/runs/{run}", tags=["results"])


@routes.get("/series", responses=errors.documented(404))
@needs("read")
def show_series(
    run: RunId,
    runs: NeedsRuns,
    reader: NeedsSeries,
    points: Annotated[int, Query(ge=2, le=100_000, description="at most so many")] = 1_000,
) -> SeriesView:
    """The curves of a run, as columns.

    Thinned out by keeping extremes: the lines are cut into equal pieces, of each of which those with the least and the
    greatest loss stay, besides the first and the last of all. Every point was measured; a spike is never lost. Where a
    step was logged twice, because a trainer went on from a checkpoint, the later line counts.
    """
    folder = runs.show(run).run.folder
    return view(run, thinned(reader.points(folder), points))


@routes.get("/evaluations", responses=errors.documented(404))
@needs("read")
def list_evaluations(run: RunId, runs: NeedsRuns) -> EvaluationsView:
    """Every verdict on a run, without confusion matrices and figures of classes."""
    return EvaluationsView(evaluations=[evaluation_view(each) for each in runs.show(run).run.verdicts])


@routes.get("/evaluations/{step}/{weights}", responses=errors.documented(404))
@needs("read")
def show_evaluation(run: RunId, step: Step, weights: WeightsName, runs: NeedsRuns) -> Verdict:
    """One whole verdict, with confusion matrix and figures of every class."""
    found = runs.show(run).run
    return find_verdict(found, step, kind_named(found, weights))


@routes.get("/checkpoints", responses=errors.documented(404))
@needs("read")
def list_checkpoints(run: RunId, runs: NeedsRuns) -> CheckpointsView:
    """The checkpoints of a run that are on the volume."""
    found = runs.show(run).run
    try:
        pinned = pinned_steps(found.folder)
    except VolumeError:
        pinned = frozenset()
    views = [_checkpoint(found, step, pinned=step in pinned) for step in CheckpointStore(found.folder).steps()]
    return CheckpointsView(checkpoints=[each for each in views if each is not None])


@routes.post("/checkpoints/{step}:pin", status_code=204, responses=errors.documented(404, 503))
@needs("control", what="pin")
def pin_checkpoint(run: RunId, step: Step, control: NeedsControl) -> None:
    """Keeps a checkpoint, whatever the run's specification says about retention."""
    control.pin(run, step, pinned=True)


@routes.post("/checkpoints/{step}:unpin", status_code=204, responses=errors.documented(404, 503))
@needs("control", what="unpin")
def unpin_checkpoint(run: RunId, step: Step, control: NeedsControl) -> None:
    """Leaves a checkpoint to what the run's specification says about retention."""
    control.pin(run, step, pinned=False)


def _checkpoint(run: Run, step: int, *, pinned: bool) -> CheckpointView | None:
    try:
        view = checkpoint_view(CheckpointStore(run.folder).open(step).manifest)
    except NotFoundError:
        return None  # pruned since it was listed
    except VolumeError as error:
        view = CheckpointView(step=step, weights=[], bytes=None, loss=None, time=None, problem=str(error))
    return view.model_copy(
        update={
            "pinned": pinned,
            "exported": (run.folder.export(step) / MANIFEST).exists(),
            "evaluations": [evaluation_view(each) for each in run.verdicts if each.step == step],
        }
    )
