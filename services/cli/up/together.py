"""Follows one run from its start to its end while gateway and evaluator are kept alive, and stops them in order."""

from collections.abc import Callable
from typing import Any

from services.cli.client import Client
from services.cli.client.views import Evaluation, Run
from services.cli.output import answer_of, progress_text, source_of
from services.cli.screen import Screen
from services.cli.up.children import Supervisor
from services.cli.up.judgements import Judgements
from services.cli.up.picture import TestPicture
from services.cli.up.plan import Plan
from shared.errors import ConflictError, UnavailableError
from shared.lifecycle import StopEvent

READY_SECONDS = 120.0
VERDICT_SECONDS = 900.0
MODEL_SECONDS = 60.0
PARKED = frozenset({"pausing", "paused"})
STOP_SECONDS = 150.0  # more than the gateway gives its trainers


class Stopped(Exception):
    """The user asked to stop."""


class Together:
    """One `tandem up`.

    Args:
        plan: What to train.
        supervisor: Keeps the gateway and the evaluator.
        client: Of that gateway.
        picture: Makes the test picture to classify at the end.
        screen: What the user sees.
        stop: Set when the user asks to stop.
        clock: Monotonic seconds.
        sleep: Waits for so many seconds; used while stopping.
        keep: Whether to go on serving when the run is over.
        poll: Seconds between looks.

    Attributes:
        result: What came of it, for programs: the run, its verdicts and the answer on the test picture. Empty until
            the run is over.
    """

    def __init__(
        self,
        *,
        plan: Plan,
        supervisor: Supervisor,
        client: Client,
        picture: Callable[[], TestPicture],
        screen: Screen,
        stop: StopEvent,
        clock: Callable[[], float],
        sleep: Callable[[float], object],
        keep: bool = False,
        poll: float = 0.5,
    ) -> None:
        self._plan = plan
        self._supervisor = supervisor
        self._client = client
        self._picture = picture
        self._screen = screen
        self._stop = stop
        self._clock = clock
        self._sleep = sleep
        self._keep = keep
        self._poll = poll
        self._over = False
        self.result: dict[str, Any] = {}

    def run(self) -> int:
        """Does all of it.

        Returns:
            The exit code: 0 when the run is over or the user stopped it, 1 when it failed.

        Raises:
            TandemError: A process could not be kept alive, or the gateway refused the run. All is stopped by then.
        """
        try:
            self._supervisor.start()
            with self._screen.live():
                return self._to_the_end()
        except Stopped:
            return 0
        finally:
            self._shut_down()

    def _to_the_end(self) -> int:
        self._await_ready()
        self._screen.line(f"gateway     {self._client.url}  (API docs {self._client.url}/docs)")
        run = self._start_or_go_on()
        judgements = Judgements(kinds=self._plan.spec.weights_kinds)
        before = judgements.passed_over(self._evaluations(run))
        if before is not None:
            self._screen.line(f"{before} (before)")
        run = self._follow(run, judgements)
        self._over = True
        if run.state == "failed":
            self._screen.line(f"failure     {run.failure or run.reason or 'it does not say why'}")
        elif run.state == "completed":
            self._await_verdict(run, judgements)
        for line in judgements.rest():
            self._screen.line(line)
        self.result = run.model_dump(mode="json")
        self.result["evaluations"] = [each.model_dump(mode="json") for each in self._evaluations(run)]
        self.result["answer"] = self._classify(run) if judgements.any() else None
        self._screen.line(f"API docs    {self._client.url}/docs")
        self._screen.line(f"metrics     {self._client.url}/metrics")
        if self._keep and run.state != "failed":
            self._screen.line("serving on until Ctrl-C")
            while True:
                self._pause("serving", None)
        return 1 if run.state == "failed" else 0

    def _await_ready(self) -> None:
        deadline = self._clock() + READY_SECONDS
        while not self._client.ready():
            if self._clock() >= deadline:
                raise UnavailableError(
                    f"the gateway was not ready after {READY_SECONDS:g} s", where=self._client.url, hint="See its log"
                )
            self._pause("starting the gateway", None)

    def _start_or_go_on(self) -> Run:
        unfinished = [run for run in self._client.runs() if not run.finished]
        same = [run for run in unfinished if _computes(run, self._plan)]
        self._park([run for run in unfinished if not _computes(run, self._plan)])
        if not same:
            run = self._client.start_run(recipe=self._plan.recipe, spec=self._plan.changes)
            self._screen.line(f"started     {run.id}, {run.steps:,} steps on {self._plan.spec.dataset.kind}")
            return run
        run = max(same, key=lambda one: one.id)
        if run.state in PARKED:
            run = self._client.resume_run(run.id)
        self._screen.line(f"going on    {run.id}, from step {run.checkpoint_step or 0:,} of {run.steps:,}")
        return run

    def _park(self, others: list[Run]) -> None:
        """Pauses other unfinished runs that would keep this one waiting for a slot; says what it did with each."""
        awake = [run for run in others if run.state not in PARKED]
        slots = len(self._client.slots()) if awake else 0
        # As many may go on as leave a slot for this one; those with the least progress stand back.
        going = sorted(awake, key=lambda run: run.progress, reverse=True)[: max(0, slots - 1)]
        for other in others:
            where = f"{other.id}, unfinished at step {other.step:,} of {other.steps:,}"
            if other in going:
                self._screen.line(
                    f"also there  {where}, goes on beside this one; `tandem runs stop {other.id}` ends it"
                )
            elif other in awake:
                try:
                    self._client.pause_run(other.id)
                except ConflictError as error:  # it has just ended, or is ending
                    self._screen.line(f"also there  {where}: {error.message}")
                    continue
                self._screen.line(f"parked      {where}; `tandem runs resume {other.id}` lets it go on")
            else:
                self._screen.line(f"also there  {where}, stays paused; `tandem runs resume {other.id}` lets it go on")

    def _follow(self, run: Run, judgements: Judgements) -> Run:
        latest, state = run.latest, run.state
        while not run.finished:
            self._pause(progress_text(run), run.progress)
            try:
                run = self._client.run(run.id)
                if run.state == "restarting" != state:
                    self._screen.line(f"restarting  from step {run.checkpoint_step or 0:,}: {run.reason}")
                state = run.state
                if run.latest != latest or run.finished:
                    latest = run.latest
                    self._tell(judgements.add(self._client.evaluations(run.id)))
            except UnavailableError:
                continue  # a gateway that died is the supervisor's to tell of and to start again
        self._screen.line(f"{run.state:<12}{run.id} at step {run.step:,} of {run.steps:,}")
        return run

    def _await_verdict(self, run: Run, judgements: Judgements) -> None:
        step = run.steps
        deadline = self._clock() + VERDICT_SECONDS
        while not judgements.complete(step):
            self._tell(judgements.add(self._evaluations(run)))
            if self._clock() >= deadline:
                self._screen.line(
                    f"no verdict  on step {step:,} after {VERDICT_SECONDS:g} s; the evaluator's log says more"
                )
                return
            if not judgements.complete(step):
                self._pause(f"waiting for the verdict on step {step:,}", None)

    def _classify(self, run: Run) -> dict[str, Any] | None:
        picture = self._picture()
        deadline = self._clock() + MODEL_SECONDS
        while True:
            try:
                answer = self._client.classify(picture.data, model=run.id, top=3)
                best = self._client.run(run.id).best
                if best is None or answer.step == best.step or self._clock() >= deadline:
                    break  # until then an older model answers while the best one is being loaded
            except UnavailableError as error:  # judged, and not yet exported or loaded
                if self._clock() >= deadline:
                    self._screen.line(f"no answer   {error}")
                    return None
            self._pause("waiting for the model", None)
        self._screen.line(f"picture     {picture.path} (test picture {picture.number}, labelled {picture.label})")
        self._screen.line(f"answer      {answer_of(answer.predictions[0])}")
        self._screen.line(f"            by the {source_of(answer)}")
        return answer.model_dump(mode="json")

    def _evaluations(self, run: Run) -> list[Evaluation]:
        try:
            return self._client.evaluations(run.id)
        except UnavailableError:
            return []

    def _pause(self, text: str, share: float | None) -> None:
        """Shows progress, looks after the children, and waits for a moment."""
        self._screen.progress(text, share)
        self._tell(self._supervisor.check())
        if self._stop.wait(self._poll):
            raise Stopped

    def _tell(self, lines: list[str]) -> None:
        for line in lines:
            self._screen.line(line)

    def _shut_down(self) -> None:
        asked = self._stop.is_set() and not self._over
        if asked:
            self._screen.line("stopping    the trainer commits a checkpoint first; Ctrl-C again kills")
        late = self._supervisor.stop(grace=STOP_SECONDS, wait=self._sleep)
        if late:
            self._screen.line(f"killed      {', '.join(late)}: had not stopped after {STOP_SECONDS:g} s")
        elif asked:
            self._screen.line("stopped     running it again goes on from here")


def _computes(run: Run, plan: Plan) -> bool:
    """Whether a run is of the spec that the plan asks for; its labels do not matter."""
    wanted = plan.spec.model_dump(mode="json", exclude={"labels"})
    return {key: value for key, value in run.spec.items() if key != "labels"} == wanted
