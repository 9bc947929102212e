"""`tandem runs`: start, fork, list, show and compare runs; what is asked of them is in `control`."""

from pathlib import Path
from typing import Annotated, Any

import typer

from services.cli.commands import control
from services.cli.commands.options import Json, Label, Name, RunName, RunNames, States, settings_of, states_of
from services.cli.compare import comparison, comparison_table
from services.cli.completion import complete_recipe
from services.cli.output import checkpoint_line, run_lines, runs_table
from services.cli.session import Session, find_run, step_of
from shared.errors import InputError
from shared.recipes import load_recipe
from shared.spec import overlay

app = typer.Typer(help="Start, list, show, control, fork and compare runs.", no_args_is_help=True)
for _command in (
    control.pause,
    control.resume,
    control.stop,
    control.kill,
    control.restart,
    control.delete,
    control.tag,
    control.pin,
    control.unpin,
):
    app.command()(_command)

SpecFile = Annotated[Path | None, typer.Option(help="A YAML file of settings, laid over the recipe.")]
Settings = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="A setting, such as batch_size=64. Repeatable."),
]
TotalSteps = Annotated[int | None, typer.Option(min=1, help="How many steps to train.")]
Key = Annotated[
    str | None, typer.Option(help="Of this request: sent again with the same key, it starts nothing twice.")
]
Data = Annotated[str | None, typer.Option(help="Where the data set's files are, on the machine that trains.")]


@app.command()
def start(
    context: typer.Context,
    *,
    recipe: Annotated[
        str | None,
        typer.Argument(help="A recipe's name; `tandem recipes` lists them.", autocompletion=complete_recipe),
    ] = None,
    spec: SpecFile = None,
    settings: Settings = None,
    steps: TotalSteps = None,
    data: Data = None,
    key: Key = None,
    as_json: Json = False,
) -> None:
    """Start a run from a recipe, a file of settings, or both."""
    session: Session = context.obj
    values = _values(spec, settings, steps, data)
    with session.client() as client:
        run = client.start_run(recipe=recipe, spec=values, key=key)
    _show_started(session, run.model_dump(mode="json"), as_json=as_json)


@app.command()
def fork(
    context: typer.Context,
    run: RunName,
    *,
    step: Annotated[str | None, typer.Option(help="Which checkpoint: a step, `best`, or `last` (the default).")] = None,
    recipe: Annotated[
        str | None, typer.Option(help="A recipe laid over the run's settings.", autocompletion=complete_recipe)
    ] = None,
    spec: SpecFile = None,
    settings: Settings = None,
    steps: TotalSteps = None,
    data: Data = None,
    key: Key = None,
    as_json: Json = False,
) -> None:
    """Start a run from a checkpoint of another one, with changed settings."""
    session: Session = context.obj
    values = _values(spec, settings, steps, data)
    with session.client() as client:
        parent = find_run(client, run)
        number = None if step is None else step_of(client, parent, step)
        child = client.fork_run(parent.id, step=number, recipe=recipe, spec=values, key=key)
    _show_started(session, child.model_dump(mode="json"), as_json=as_json)


@app.command("list")
def list_runs(
    context: typer.Context,
    *,
    state: States = None,
    label: Label = None,
    name: Name = None,
    limit: Annotated[int | None, typer.Option(min=1, help="Only the newest N.")] = None,
    as_json: Json = False,
) -> None:
    """List runs, the newest last."""
    session: Session = context.obj
    with session.client() as client:
        runs = client.runs(states=states_of(state), label=label, name=name, limit=limit)
    runs = sorted(runs, key=lambda run: run.id)
    if as_json:
        session.show_json([run.model_dump(mode="json") for run in runs])
    elif runs:
        session.console.print(runs_table(runs), highlight=False)
    elif state or label or name:
        session.tell("No run fits.")
    else:
        session.tell("No runs yet: `tandem runs start shapes` starts one.")


@app.command()
def show(
    context: typer.Context,
    run: RunName,
    *,
    checkpoints: Annotated[bool, typer.Option("--checkpoints", help="Also its checkpoints, sizes and pins.")] = False,
    as_json: Json = False,
) -> None:
    """Show one run and the metrics of its checkpoints."""
    session: Session = context.obj
    with session.client() as client:
        found = find_run(client, run)
        evaluations = client.evaluations(found.id)
        kept = client.checkpoints(found.id) if checkpoints else []
    if as_json:
        values: dict[str, Any] = found.model_dump(mode="json")
        values["evaluations"] = [evaluation.model_dump(mode="json") for evaluation in evaluations]
        if checkpoints:
            values["checkpoints"] = [checkpoint.model_dump(mode="json") for checkpoint in kept]
        session.show_json(values)
        return
    for line in [*run_lines(found, evaluations), *(checkpoint_line(checkpoint) for checkpoint in kept)]:
        session.show(line)


@app.command()
def compare(context: typer.Context, runs: RunNames, as_json: Json = False) -> None:
    """Compare runs: the settings that differ, and the results."""
    session: Session = context.obj
    with session.client() as client:
        found = [find_run(client, run) for run in runs or []]
    if len({run.id for run in found}) < 2:
        raise InputError("takes two runs or more", where="tandem runs compare", hint="`tandem runs list` shows them")
    if as_json:
        session.show_json(comparison(found))
    else:
        session.console.print(comparison_table(found), highlight=False)


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


def slots(context: typer.Context, as_json: Json = False) -> None:
    """List the slots in which trainers can run, and the run in each."""
    session: Session = context.obj
    with session.client() as client:
        found = client.slots()
    if as_json:
        session.show_json([slot.model_dump(mode="json") for slot in found])
        return
    for slot in found:
        session.show(f"{slot.name}  {slot.state}  {slot.problem or slot.run or ''}".rstrip())


def _values(spec: Path | None, settings: list[str] | None, steps: int | None, data: str | None) -> dict[str, Any]:
    values: dict[str, Any] = load_recipe(spec) if spec is not None else {}
    values = overlay(values, settings_of(settings or []))
    if steps is not None:
        values["steps"] = steps
    if data is not None:
        values = overlay(values, {"dataset": {"path": str(Path(data).absolute())}})
    return values


def _show_started(session: Session, run: dict[str, Any], *, as_json: bool) -> None:
    if as_json:
        session.show_json(run)
    else:
        session.show(str(run["id"]))
