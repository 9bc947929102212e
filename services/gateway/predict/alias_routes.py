"""`/v1/models/{model}/aliases`: which exports the names of a run point at, and how people move them."""

from collections.abc import Callable
from typing import Annotated, Literal

from fastapi import APIRouter, Path
from pydantic import BaseModel, ConfigDict, Field, StrictBool

from services.gateway.access.scopes import needs
from services.gateway.convertors import NAME
from services.gateway.errors import documented
from services.gateway.predict.aliases import ALIAS, AUTOMATIC, checked_alias
from services.gateway.predict.predictor import Predictor
from services.gateway.predict.promotion import Promotion
from services.gateway.predict.store import RunExports
from shared.errors import InputError
from shared.records import Alias, Canary

Change = Callable[[Promotion, RunExports, str], Alias]

PREFIX = "/v1/models/{model}/aliases"
ONE = f"/{{alias:{NAME}}}"
"""The path of one alias."""

AliasName = Annotated[
    str,
    Path(
        description="`best`, `latest`, `stable`, or one of your own",
        examples=["stable"],
        json_schema_extra={"pattern": f"^{ALIAS.pattern}$"},  # `checked_alias` says what is wrong
    ),
]
Step = Annotated[int, Field(strict=True, ge=0, le=10**15, description="of the export")]
Reason = Annotated[str, Field(max_length=500, description="for the history")]


class MoveView(BaseModel):
    """An alias came to point at an export."""

    step: int
    precision_at_1: float
    reason: str
    time: float


class CanaryView(BaseModel):
    """An export that answers a share of an alias' requests."""

    step: int
    share: float


class AliasView(BaseModel):
    """What an alias points at."""

    alias: str
    step: int
    precision_at_1: float
    moves: Literal["by itself", "by hand"]
    pinned: bool = Field(description="it stays where it is until somebody moves it")
    canary: CanaryView | None
    reason: str = Field(description="why it is there")
    time: float = Field(description="when it came there")
    history: list[MoveView] = Field(description="where it was before, newest last")


class AliasesView(BaseModel):
    """The aliases of a run."""

    model: str
    run: str
    aliases: list[AliasView]


class AliasRequest(BaseModel):
    """Where an alias is to point."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "example": {"step": 300, "reason": "looks right"},
            "anyOf": [
                {"required": ["step"], "properties": {"step": {"type": "integer"}}},
                {"required": ["pinned"], "properties": {"pinned": {"type": "boolean"}}},
            ],
        },
    )

    step: Step | None = Field(default=None, description="null: where it is")
    pinned: StrictBool | None = Field(
        default=None,
        description="null: `best` and `latest` stay where they are put, and others are moved by hand anyway",
    )
    reason: Reason = "moved by hand"


class RollbackRequest(BaseModel):
    """Why an alias goes back."""

    model_config = ConfigDict(extra="forbid")

    reason: Reason = "rolled back"


class CanaryRequest(BaseModel):
    """Which export is to answer how many of an alias' requests."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"example": {"step": 400, "share": 0.1}})

    step: Step
    share: float = Field(gt=0.0, lt=1.0, description="of the requests")
    reason: Reason = "tried out"


def router(*, predictor: Predictor) -> APIRouter:
    """The routes.

    Args:
        predictor: Moves aliases.
    """
    routes = APIRouter(tags=["models"], prefix=PREFIX)

    async def changed(model: str, alias: str, change: Change) -> AliasView:
        run_id = predictor.catalog().resolve(model).id
        name = checked_alias(alias)
        # As it is right after the change: by the time that this goes on, another may have removed it.
        entry = await predictor.change(lambda promotion, catalog: change(promotion, catalog.resolve(run_id), name))
        return _view(name, entry)

    @routes.get("", responses=documented(404, 503))
    @needs("read", "predict")
    async def list_aliases(model: str) -> AliasesView:
        """What every alias of a run points at, and where it pointed before."""
        run = predictor.catalog().resolve(model)
        return AliasesView(
            model=model, run=run.id, aliases=[_view(name, entry) for name, entry in sorted(run.aliases.items())]
        )

    @routes.put(ONE, responses=documented(404, 503))
    @needs("control", what="promote")
    async def put_alias(model: str, alias: AliasName, body: AliasRequest) -> AliasView:
        """Points an alias at an export that answers, pins it, or lets `best` and `latest` move by themselves again."""
        if body.step is None and body.pinned is None:
            raise InputError("neither step nor pinned is given", where="step")

        def change(promotion: Promotion, run: RunExports, name: str) -> Alias:
            return promotion.place(run, name, step=body.step, pinned=body.pinned, reason=body.reason)

        return await changed(model, alias, change)

    @routes.post(f"{ONE}:rollback", responses=documented(404, 409, 503))
    @needs("control", what="rollback")
    async def roll_back(model: str, alias: AliasName, body: RollbackRequest | None = None) -> AliasView:
        """Points an alias at where it was before; `best` and `latest` stay there until they are freed."""
        reason = (body or RollbackRequest()).reason
        return await changed(model, alias, lambda promotion, run, name: promotion.roll_back(run, name, reason=reason))

    @routes.put(f"{ONE}/canary", responses=documented(404, 409, 503))
    @needs("control", what="canary")
    async def put_canary(model: str, alias: AliasName, body: CanaryRequest) -> AliasView:
        """Has another export answer a share of an alias' requests; the alias itself stays."""
        canary = Canary(step=body.step, share=body.share)
        return await changed(
            model, alias, lambda promotion, run, name: promotion.try_out(run, name, canary, reason=body.reason)
        )

    @routes.delete(f"{ONE}/canary", responses=documented(404, 503))
    @needs("control", what="end canary")
    async def delete_canary(model: str, alias: AliasName) -> AliasView:
        """Ends that."""
        return await changed(
            model, alias, lambda promotion, run, name: promotion.try_out(run, name, None, reason="the canary ended")
        )

    @routes.delete(ONE, status_code=204, responses=documented(404, 503))
    @needs("control", what="delete alias")
    async def delete_alias(model: str, alias: AliasName) -> None:
        """Removes an alias; `best` and `latest` begin anew to move by themselves."""
        run_id, name = predictor.catalog().resolve(model).id, checked_alias(alias)
        await predictor.change(
            lambda promotion, catalog: promotion.remove(catalog.resolve(run_id), name, reason="removed by hand")
        )

    return routes


def _view(name: str, entry: Alias) -> AliasView:
    now = entry.now
    return AliasView(
        alias=name,
        step=now.step,
        precision_at_1=now.precision_at_1,
        moves="by itself" if name in AUTOMATIC and not entry.pinned else "by hand",
        pinned=entry.pinned,
        canary=None if entry.canary is None else CanaryView(**entry.canary.model_dump()),
        reason=now.reason,
        time=now.time,
        history=[MoveView(**move.model_dump()) for move in entry.moves[:-1]],
    )
