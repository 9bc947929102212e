"""`tandem runs`: start, list, show and stop runs."""

from pathlib import Path
from typing import Annotated, Any

import typer

from services.cli.commands.options import Json, RunName, settings_of
from services.cli.output import run_lines, runs_table
from services.cli.session import Session, find_run
from shared.spec import load_recipe, overlay

app = typer.Typer(help="Start, list, show and stop runs.", no_args_is_help=True)


@app.command()
def start(
    context: typer.Context,
    *,
    recipe: Annotated[str | None, typer.Argument(help="A recipe's name; `tandem recipes` lists them.")] = None,
    spec: Annotated[Path | None, typer.Option(help="A YAML file of settings, laid over the recipe.")] = None,
    settings: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="A setting, such as batch_size=64. Repeatable."),
    ] = None,
    steps: Annotated[int | None, typer.Option(help="How many steps to train.")] = None,
    data: Annotated[
        str | None, typer.Option(help="Where the data set's files are, on the machine that trains.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Start a run from a recipe, a file of settings, or both."""
    session: Session = context.obj
    values: dict[str, Any] = load_recipe(spec) if spec is not None else {}
    values = overlay(values, settings_of(settings or []))
    if steps is not None:
        values["steps"] = steps
    if data is not None:
        values = overlay(values, {"dataset": {"path": str(Path(data).absolute())}})
    with session.client() as client:
        run = client.start_run(recipe=recipe, spec=values)
    if as_json:
        session.show_json(run.model_dump(mode="json"))
    else:
        session.show(run.id)


@app.command("list")
def list_runs(context: typer.Context, as_json: Json = False) -> None:
    """List runs, the newest last."""
    session: Session = context.obj
    with session.client() as client:
        runs = sorted(client.runs(), key=lambda run: run.id)
    if as_json:
        session.show_json([run.model_dump(mode="json") for run in runs])
    elif runs:
        session.console.print(runs_table(runs), highlight=False)
    else:
        session.tell("No runs yet: `tandem runs start shapes` starts one.")


@app.command()
def show(context: typer.Context, run: RunName, as_json: Json = False) -> None:
    """Show one run and how its checkpoints were judged."""
    session: Session = context.obj
    with session.client() as client:
        found = find_run(client, run)
        evaluations = client.evaluations(found.id)
    if as_json:
        judged = [evaluation.model_dump(mode="json") for evaluation in evaluations]
        session.show_json({**found.model_dump(mode="json"), "evaluations": judged})
        return
    for line in run_lines(found, evaluations):
        session.show(line)


@app.command()
def stop(context: typer.Context, run: RunName, as_json: Json = False) -> None:
    """Stop a run for good, after a last checkpoint."""
    session: Session = context.obj
    with session.client() as client:
        stopped = client.stop_run(find_run(client, run).id)
    if as_json:
        session.show_json(stopped.model_dump(mode="json"))
    else:
        session.show(f"{stopped.id} {stopped.state}")


def recipes(context: typer.Context, as_json: Json = False) -> None:
    """List the recipes that the gateway knows."""
    session: Session = context.obj
    with session.client() as client:
        names = client.recipes()
    if as_json:
        session.show_json(names)
        return
    for name in names:
        session.show(name)
