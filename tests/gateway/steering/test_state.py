from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.gateway.steering.state import Trainer, derive
from shared.records import Desired, TrainerStatus
from shared.spec import AlternateSharing, RunSpec
from shared.states import STATES
from tests.statuses import trainer_status

SPEC = RunSpec(steps=100)
PHASES = ("starting", "running", "holding", "stopping", "completed", "stopped", "released", "yielded", "failed")


def wants(state: Any, **values: Any) -> Desired:
    return Desired(generation=1, state=state, time=0, **values)


def says(phase: Any, *, fence: int = 1, **values: Any) -> TrainerStatus:
    return trainer_status("r", phase=phase, fence=fence, **{"generation_seen": 1, **values})


GONE = Trainer(fence=1)
ALIVE = Trainer(slot="slot-0", fence=1, alive=True)
KEPT = Trainer(slot="slot-0", fence=1)
DIED = Trainer(slot="slot-0", fence=1, death="its trainer was killed by signal 9")
JUDGED = Trainer(slot="slot-0", fence=2, evaluating=True)
GAVE_UP = Trainer(fence=1, gave_up="3 trainers in a row made no new checkpoint")
BY_HAND = Trainer(fence=0, alive=True, by_hand=True)

TABLE = [
    # a run that is to train
    ("running", None, Trainer(), "queued"),
    ("running", "released", GONE, "queued"),
    ("running", "stopped", GONE, "queued"),
    ("running", None, KEPT, "starting"),
    ("running", None, ALIVE, "starting"),
    ("running", "starting", ALIVE, "starting"),
    ("running", "running", ALIVE, "running"),
    ("running", "holding", ALIVE, "running"),
    ("running", "stopping", ALIVE, "restarting"),
    ("running", "released", ALIVE, "restarting"),
    ("running", "failed", ALIVE, "restarting"),
    ("running", "yielded", ALIVE, "evaluating"),
    ("running", "yielded", JUDGED, "evaluating"),
    ("running", "yielded", KEPT, "evaluating"),
    ("running", "yielded", GONE, "queued"),
    ("running", "yielded", DIED, "restarting"),
    ("running", "completed", JUDGED, "completed"),
    ("running", "running", DIED, "restarting"),
    ("running", "failed", DIED, "restarting"),
    ("running", "failed", GAVE_UP, "failed"),
    ("running", "completed", ALIVE, "completed"),
    ("running", "completed", GONE, "completed"),
    # one that is to stand still
    ("paused", None, Trainer(), "paused"),
    ("paused", None, ALIVE, "pausing"),
    ("paused", "running", ALIVE, "pausing"),
    ("paused", "stopping", ALIVE, "pausing"),
    ("paused", "holding", ALIVE, "paused"),
    ("paused", "released", GONE, "paused"),
    ("paused", "yielded", JUDGED, "pausing"),
    ("paused", "yielded", GONE, "paused"),
    ("paused", "running", DIED, "paused"),
    ("paused", "failed", GAVE_UP, "failed"),
    ("paused", "completed", GONE, "completed"),
    # one that is to end
    ("stopped", None, Trainer(), "stopped"),
    ("stopped", None, ALIVE, "stopping"),
    ("stopped", "running", ALIVE, "stopping"),
    ("stopped", "holding", ALIVE, "stopping"),
    ("stopped", "stopped", ALIVE, "stopping"),
    ("stopped", "stopped", GONE, "stopped"),
    ("stopped", "stopped", JUDGED, "stopped"),
    ("stopped", "yielded", JUDGED, "stopping"),
    ("stopped", "yielded", GONE, "stopped"),
    ("stopped", "running", DIED, "stopped"),
    ("stopped", "failed", GAVE_UP, "stopped"),
    ("stopped", "completed", GONE, "completed"),
    # one that was started by hand
    (None, None, Trainer(), "failed"),
    (None, "starting", BY_HAND, "starting"),
    (None, "running", BY_HAND, "running"),
    (None, "stopping", BY_HAND, "stopping"),
    (None, "running", Trainer(by_hand=True), "failed"),
    (None, "released", Trainer(by_hand=True), "paused"),
    (None, "stopped", Trainer(by_hand=True), "stopped"),
    (None, "yielded", Trainer(by_hand=True), "paused"),
    (None, "failed", Trainer(by_hand=True), "failed"),
    (None, "completed", Trainer(by_hand=True), "completed"),
]


@pytest.mark.parametrize(("desired", "phase", "trainer", "expected"), TABLE)
def test_the_state_follows_from_what_is_wanted_said_and_seen(
    desired: Any, phase: Any, trainer: Trainer, expected: str
) -> None:
    found = derive(SPEC, desired and wants(desired), phase and says(phase), trainer)
    assert found.state == expected


def test_every_state_is_in_the_table() -> None:
    assert {row[3] for row in TABLE} == set(STATES)


def test_the_word_of_an_earlier_trainer_is_not_taken_for_the_new_ones() -> None:
    newer = Trainer(slot="slot-0", fence=2, alive=True)
    assert derive(SPEC, wants("running"), says("running", fence=1), newer).state == "starting"
    assert derive(SPEC, wants("paused"), says("holding", fence=1), newer).state == "pausing"


def test_a_trainer_that_commits_its_last_checkpoint_has_not_died() -> None:
    found = derive(SPEC, wants("running"), says("stopping", step=100), ALIVE)
    assert (found.state, found.reason) == ("running", "commits its last checkpoint, in slot slot-0")
    assert derive(SPEC, None, says("stopping", step=100), BY_HAND).state == "running"
    assert derive(SPEC, wants("running"), says("stopping", step=99), ALIVE).state == "restarting"


def test_a_trainer_that_ends_its_turn_has_not_died() -> None:
    spec = RunSpec(steps=100, sharing=AlternateSharing(kind="alternate", every_steps=20))
    assert derive(spec, wants("running"), says("stopping", step=40), ALIVE).state == "running"
    assert derive(spec, wants("running"), says("stopping", step=41), ALIVE).state == "restarting"


@pytest.mark.parametrize("phase", ["stopping", "released"])
def test_a_trainer_that_was_resumed_while_it_let_go_has_not_died(phase: Any) -> None:
    resumed = wants("running").model_copy(update={"generation": 2})
    assert derive(SPEC, resumed, says(phase, generation_seen=1), ALIVE).state == "starting"
    assert derive(SPEC, resumed, says(phase, generation_seen=2), ALIVE).state == "restarting"


def test_a_run_that_is_extended_while_its_trainer_ends_goes_on() -> None:
    longer = wants("running", steps=200).model_copy(update={"generation": 2})
    assert derive(SPEC, longer, says("completed", step=100), ALIVE).state == "starting"


def test_a_restarting_run_says_how_its_trainer_died() -> None:
    assert derive(SPEC, wants("running"), says("running"), DIED).reason == "its trainer was killed by signal 9"


def test_a_stopped_run_says_why_and_where() -> None:
    found = derive(SPEC, wants("stopped", reason="enough"), says("stopped"), GONE)
    assert found.reason == "enough; at step 10 of 100"


def test_a_run_that_failed_by_hand_repeats_what_its_trainer_said() -> None:
    failure: dict[str, str | None] = {"message": "is no longer finite", "where": "loss"}
    found = derive(SPEC, None, says("failed", failure=failure), Trainer(by_hand=True))
    assert found.reason == "loss: is no longer finite"


desires = st.none() | st.builds(
    wants, st.sampled_from(["running", "paused", "stopped"]), reason=st.sampled_from(["", "x"])
)
words = st.none() | st.builds(says, st.sampled_from(PHASES), fence=st.integers(1, 3))
trainers = st.builds(
    Trainer,
    slot=st.none() | st.just("slot-0"),
    fence=st.integers(0, 3),
    alive=st.booleans(),
    evaluating=st.booleans(),
    by_hand=st.booleans(),
    death=st.none() | st.just("died"),
    gave_up=st.none() | st.just("gave up"),
)


@given(desires, words, trainers)
def test_any_combination_has_a_state_and_a_reason_and_they_fit(
    desired: Desired | None, status: TrainerStatus | None, trainer: Trainer
) -> None:
    found = derive(SPEC, desired, status, trainer)
    assert found.state in STATES
    assert found.reason
    assert (found.state == "completed") == (status is not None and status.phase == "completed")
    if found.state == "completed":
        return
    if trainer.alive:
        assert found.state not in {"queued", "stopped", "failed"}
    elif not trainer.evaluating:
        assert found.state not in {"running", "pausing", "stopping"}
    if desired is None:
        assert found.state != "queued", "the gateway never starts what was started by hand"
    elif desired.state == "stopped":
        assert found.state in {"stopping", "stopped"}
    elif desired.state == "paused":
        assert found.state in {"pausing", "paused", "failed"}
    else:
        assert found.state in {"queued", "starting", "running", "evaluating", "restarting", "failed"}


@given(desires, words, trainers)
def test_failed_is_only_what_was_given_up_or_left_by_hand(
    desired: Desired | None, status: TrainerStatus | None, trainer: Trainer
) -> None:
    if derive(SPEC, desired, status, trainer).state == "failed":
        assert trainer.gave_up is not None or desired is None
