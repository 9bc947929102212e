"""`tandem plot`: what a recipe's settings mean, which needs no gateway, and what came of a run's weights."""

from pathlib import Path
from typing import Annotated, Any

import typer

from services.cli.commands import plot_runs
from services.cli.commands.options import Json, RunName, settings_of, write_text
from services.cli.plots.curve import Point, svg_curve, text_curve
from services.cli.plots.lines import svg_lines
from services.cli.plots.steadiness import Curve, precision_curves, steadiness, steadiness_table
from services.cli.session import Session, find_run
from shared import recipes
from shared.errors import InputError, NotFoundError
from shared.schedules import rate_curve
from shared.spec import ExponentialRate, RunSpec, overlay, parse_spec

app = typer.Typer(help="Plot the learning rate of a recipe, or the loss and precision of runs.", no_args_is_help=True)
app.command("loss")(plot_runs.plot_loss)

# How many training pictures the published data sets have; other kinds have as many as their files hold.
_PUBLISHED = {"cifar10": 50_000, "cifar100": 50_000}


@app.command("rate")
def plot_rate(
    context: typer.Context,
    *,
    recipe: Annotated[
        str | None, typer.Argument(help="A recipe's name, or a YAML file; without it, the defaults.")
    ] = None,
    settings: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="A setting, such as learning_rate.kind=cosine. Repeatable."),
    ] = None,
    steps: Annotated[int | None, typer.Option(help="How many steps to train.")] = None,
    examples: Annotated[
        int | None, typer.Option(min=1, help="The size of the training split, where the kind of data does not say it.")
    ] = None,
    points: Annotated[int, typer.Option(min=2, max=100_000, help="How many points to plot.")] = 500,
    output: Annotated[Path | None, typer.Option(help="Write it to this file: .svg or .csv.")] = None,
    as_json: Json = False,
) -> None:
    """Plot the learning rate of a recipe over its steps, before anything is trained."""
    session: Session = context.obj
    spec = _spec(recipe, settings or [], steps)
    curve = rate_curve(spec, examples=examples or _examples(spec), points=points)
    if output is not None:
        write_text(output, _content(output, spec, curve))
        session.tell(f"wrote {output}")
    if as_json:
        session.show_json({"step": [step for step, _ in curve], "learning_rate": [rate for _, rate in curve]})
    elif output is None:
        session.show(_title(spec))
        for line in text_curve(curve):
            session.show(line)


@app.command("precision")
def plot_precision(
    context: typer.Context,
    *,
    run: RunName,
    last: Annotated[int, typer.Option(min=1, help="Mean and deviation are over the last N checkpoints.")] = 10,
    output: Annotated[Path | None, typer.Option(help="Write the curves to this file: .svg or .csv.")] = None,
    as_json: Json = False,
) -> None:
    """Compare the raw weights of a run with their averages: precision at 1 of every evaluated checkpoint."""
    session: Session = context.obj
    with session.client() as client:
        found = find_run(client, run)
        curves = precision_curves(client.evaluations(found.id))
    if not curves:
        raise NotFoundError(f"nothing of run {found.id} has been judged yet", where="run")
    if output is not None:
        write_text(output, _precision_content(output, found.id, curves))
        session.tell(f"wrote {output}")
    summary = steadiness(curves, last=last)
    if as_json:
        session.show_json({"run": found.id, "curves": curves, "last": [each.as_json() for each in summary]})
    elif output is None:
        session.console.print(steadiness_table(summary), highlight=False)


def _precision_content(output: Path, run: str, curves: dict[str, Curve]) -> str:
    match output.suffix:
        case ".svg":
            return svg_lines(curves, title=f"precision at 1 of {run}")
        case ".csv":
            rows = [f"{step},{kind},{value!r}\n" for kind, curve in curves.items() for step, value in curve]
            return "step,weights,precision_at_1\n" + "".join(rows)
        case _:
            raise InputError("is neither .svg nor .csv", where=f"--output {output}")


def _spec(recipe: str | None, settings: list[str], steps: int | None) -> RunSpec:
    values: dict[str, Any] = {}
    if recipe is not None:
        values = recipes.load_recipe(Path(recipe)) if recipe.endswith((".yaml", ".yml")) else recipes.load(recipe)
    values = overlay(values, settings_of(settings))
    if steps is not None:
        values = overlay(values, {"steps": steps})
    return parse_spec(values, source=recipe or "--set")


def _examples(spec: RunSpec) -> int:
    if spec.dataset.kind == "shapes":
        return spec.dataset.train_examples
    published = _PUBLISHED.get(spec.dataset.kind)
    if published is not None:
        return published
    if isinstance(spec.learning_rate, ExponentialRate):
        raise InputError(
            f"an epoch's length is not known: how many pictures does this data of kind {spec.dataset.kind} have?",
            where="--examples",
            hint="`tandem data describe` counts them",
        )
    return spec.batch_size  # the other schedules know no epochs


def _content(output: Path, spec: RunSpec, curve: list[Point]) -> str:
    match output.suffix:
        case ".svg":
            return svg_curve(curve, title=_title(spec))
        case ".csv":
            return "step,learning_rate\n" + "".join(f"{step},{rate!r}\n" for step, rate in curve)
        case _:
            raise InputError("is neither .svg nor .csv", where=f"--output {output}")


def _title(spec: RunSpec) -> str:
    rate = spec.learning_rate
    form = ""
    if isinstance(rate, ExponentialRate):
        form = ", staircase" if rate.staircase else ", continuous"
    return f"learning rate of {spec.name}: {rate.kind}{form}, {spec.steps:,} steps of {spec.batch_size}"
