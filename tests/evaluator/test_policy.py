import pytest

from services.evaluator.policy import Candidate, Policy
from shared.errors import SettingsError


def candidate(run, step, *, newest=False):
    return Candidate(run=run, step=step, kinds=("raw",), newest=newest)


WAITING = [
    candidate("a", 10),
    candidate("a", 20, newest=True),
    candidate("b", 5),
    candidate("b", 15),
    candidate("b", 25, newest=True),
]


def order(text):
    return [(item.run, item.step) for item in Policy.parse(text).ordered(WAITING)]


def test_f15_newest_first_takes_each_runs_newest_and_then_the_backlog_newest_runs_first():
    assert order("newest-first") == [("b", 25), ("a", 20), ("b", 15), ("b", 5), ("a", 10)]


def test_all_takes_the_oldest_first():
    assert order("all") == [("a", 10), ("a", 20), ("b", 5), ("b", 15), ("b", 25)]


@pytest.mark.parametrize("finished", [False, True])
@pytest.mark.parametrize("text", ["all", "newest-first"])
def test_all_and_newest_first_want_everything(text, finished):
    assert Policy.parse(text).wanted([1, 2, 7], finished=finished) == [1, 2, 7]


def test_latest_wants_the_newest_alone():
    assert Policy.parse("latest").wanted([1, 2, 7], finished=False) == [7]
    assert Policy.parse("latest").wanted([], finished=False) == []


def test_f15_every_wants_multiples_and_the_final_checkpoint_of_a_finished_run():
    policy = Policy.parse("every:10")
    assert policy.wanted([5, 10, 15, 20, 25], finished=False) == [10, 20]
    assert policy.wanted([5, 10, 15, 20, 25], finished=True) == [10, 20, 25]


def test_every_may_have_a_space_as_in_yaml():
    assert Policy.parse("every: 10") == Policy.parse("every:10") == Policy("every", 10)


@pytest.mark.parametrize(
    "text", ["", "newest", "every", "every:", "every:0", "every:-1", "every:x", "every:٣", "all:3"]
)
def test_what_is_no_policy_is_refused(text):
    with pytest.raises(SettingsError, match="newest-first, all, latest or every"):
        Policy.parse(text)
