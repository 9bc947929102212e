"""`tandem runs pause` and its like: ask something of one run, or the same of many."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated

import typer

from services.cli.client import Client
from services.cli.client.runs import Transition
from services.cli.client.transport import error_of
from services.cli.client.views import Run
from services.cli.commands.options import Json, Label, Name, RunName, RunNames, States, Steps, labels_of, states_of
from services.cli.exits import exit_code
from services.cli.output import UNKNOWN
from services.cli.session import Session, find_run, step_of
from shared.errors import InputError

Ask = Callable[[Client, str], Run | None]

_DONE = {
    "pause": "pauses",
    "resume": "resumes",
    "stop": "stops",
    "kill": "is killed",
    "restart": "restarts",
    "delete": "deleted",
}

Yes = Annotated[bool, typer.Option("--yes", help="Do it; without this, only list what would be deleted.")]


def pause(
    context: typer.Context,
    *,
    runs: RunNames = None,
    hold: Annotated[
        bool, typer.Option("--hold", help="Stay in memory and keep the slot, instead of freeing both.")
    ] = False,
    state: States = None,
    label: Label = None,
    name: Name = None,
    as_json: Json = False,
) -> int:
    """Pause runs after a checkpoint; their slots become free, or with --hold they stay in memory."""
    choice = Choice.of(context, runs, state, label, name)
    if hold:
        return choice.each(lambda client, run: client.pause_run(run, kind="hold"), as_json=as_json)
    return choice.ask("pause", lambda client, run: client.pause_run(run), as_json=as_json)


def resume(
    context: typer.Context,
    *,
    runs: RunNames = None,
    steps: Annotated[int | None, typer.Option(min=1, help="The new total of steps, more than before.")] = None,
    state: States = None,
    label: Label = None,
    name: Name = None,
    as_json: Json = False,
) -> int:
    """Resume paused runs; with --steps, extend them, completed ones too."""
    choice = Choice.of(context, runs, state, label, name)
    if steps is not None:
        return choice.each(lambda client, run: client.resume_run(run, steps=steps), as_json=as_json)
    return choice.ask("resume", lambda client, run: client.resume_run(run), as_json=as_json)


def stop(
    context: typer.Context,
    *,
    runs: RunNames = None,
    state: States = None,
    label: Label = None,
    name: Name = None,
    as_json: Json = False,
) -> int:
    """Stop runs after a last checkpoint."""
    choice = Choice.of(context, runs, state, label, name)
    return choice.ask("stop", lambda client, run: client.stop_run(run), as_json=as_json)


def kill(
    context: typer.Context,
    *,
    runs: RunNames = None,
    state: States = None,
    label: Label = None,
    name: Name = None,
    as_json: Json = False,
) -> int:
    """Stop runs at once; the steps since their last checkpoints are lost."""
    choice = Choice.of(context, runs, state, label, name)
    return choice.ask("kill", lambda client, run: client.kill_run(run), as_json=as_json)


def restart(
    context: typer.Context,
    *,
    runs: RunNames = None,
    state: States = None,
    label: Label = None,
    name: Name = None,
    as_json: Json = False,
) -> int:
    """Restart runs that failed or were stopped from their newest checkpoints."""
    choice = Choice.of(context, runs, state, label, name)
    return choice.ask("restart", lambda client, run: client.restart_run(run), as_json=as_json)


def delete(
    context: typer.Context,
    *,
    runs: RunNames = None,
    yes: Yes = False,
    state: States = None,
    label: Label = None,
    name: Name = None,
    as_json: Json = False,
) -> int:
    """Delete runs that have ended, with all their files."""
    choice = Choice.of(context, runs, state, label, name)
    if not yes:
        with choice.session.client() as client:
            found = ", ".join(choice.ids(client)) or "nothing"
        raise InputError(f"would delete {found}", where="tandem runs delete", hint="Say --yes to do it")

    def remove(client: Client, run: str) -> None:
        client.delete_run(run)

    return choice.ask("delete", remove, as_json=as_json)


def tag(
    context: typer.Context,
    run: RunName,
    *,
    priority: Annotated[
        int | None, typer.Option(help="Among runs that wait for a slot, the highest goes first; 0 by default.")
    ] = None,
    labels: Annotated[
        list[str] | None, typer.Option("--label", metavar="KEY=VALUE", help="`KEY=` removes one. Repeatable.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Change a run's priority or labels; what it computes stays the same."""
    session: Session = context.obj
    with session.client() as client:
        changed = client.tag_run(find_run(client, run).id, priority=priority, labels=labels_of(labels or []) or None)
    if as_json:
        session.show_json(changed.model_dump(mode="json"))
    else:
        shown = ", ".join(f"{key}={value}" for key, value in sorted(changed.labels.items())) or UNKNOWN
        session.show(f"{changed.id} priority {changed.priority}, labels {shown}")


def pin(context: typer.Context, run: RunName, steps: Steps, as_json: Json = False) -> None:
    """Keep checkpoints regardless of the run's retention."""
    _pin(context.obj, run, steps, pinned=True, as_json=as_json)


def unpin(context: typer.Context, run: RunName, steps: Steps, as_json: Json = False) -> None:
    """Undo `pin`: leave checkpoints to the run's retention again."""
    _pin(context.obj, run, steps, pinned=False, as_json=as_json)


@dataclass(frozen=True)
class Choice:
    """The runs that a command line means: those it names, or those that fit its filters."""

    session: Session
    runs: list[str]
    states: list[str]
    label: str | None
    name: str | None

    @classmethod
    def of(
        cls,
        context: typer.Context,
        runs: list[str] | None,
        states: list[str] | None,
        label: str | None,
        name: str | None,
    ) -> "Choice":
        """What a command was given.

        Raises:
            InputError: Runs are named and filtered, or neither: no command means all runs by saying nothing.
        """
        filtered = bool(states or label or name)
        if filtered and runs:
            raise InputError("name runs or filter them, not both", where="RUN")
        if not filtered and not runs:
            raise InputError("which runs?", where="RUN", hint="Name some, or choose with --state, --label or --name")
        return cls(session=context.obj, runs=runs or [], states=states_of(states), label=label, name=name)

    def ids(self, client: Client) -> list[str]:
        """The ids of the runs, as the gateway knows them now."""
        if self.runs:
            return list(dict.fromkeys(find_run(client, run).id for run in self.runs))
        return [run.id for run in client.runs(states=self.states, label=self.label, name=self.name)]

    def ask(self, asked: Transition, one: Ask, *, as_json: bool) -> int:
        """Asks one run by its own route, several by that for many, where what one refuses stops no other.

        Returns:
            The exit code: 0, or that of the first refusal.
        """
        if len(self.runs) == 1:
            return self.each(one, as_json=as_json)
        with self.session.client() as client:
            if self.runs:
                results = client.ask_many(asked, runs=self.ids(client))
            else:
                results = client.ask_many(asked, states=self.states, label=self.label, name=self.name)
        if as_json:
            self.session.show_json([result.model_dump(mode="json") for result in results])
        elif not results:
            self.session.tell("No run fits.")
        refused = [error_of(result.error.model_dump()) for result in results if result.error is not None]
        for result in results if not as_json else ():
            if result.error is None:
                self.session.show(f"{result.run} {_DONE[asked]}")
            else:
                self.session.tell(f"tandem: {result.run}: {' '.join(str(result.error).split())}")
        return exit_code(refused[0]) if refused else 0

    def each(self, one: Ask, *, as_json: bool) -> int:
        """Asks one run after the other; the first that refuses ends it with its error."""
        answers = []
        with self.session.client() as client:
            for run in self.ids(client):
                answer = one(client, run)
                answers.append({"id": run, "state": "deleted"} if answer is None else answer.model_dump(mode="json"))
                if not as_json:
                    self.session.show(f"{run} {answers[-1]['state']}")
        if as_json:
            self.session.show_json(answers[0] if len(self.runs) == 1 else answers)
        return 0


def _pin(session: Session, name: str, steps: list[str], *, pinned: bool, as_json: bool) -> None:
    done = []
    with session.client() as client:
        run = find_run(client, name)
        call = client.pin if pinned else client.unpin
        for step in [step_of(client, run, text) for text in steps]:
            call(run.id, step)
            done.append({"run": run.id, "step": step, "pinned": pinned})
            if not as_json:
                session.show(f"{run.id} step {step:,} {'pinned' if pinned else 'unpinned'}")
    if as_json:
        session.show_json(done)
