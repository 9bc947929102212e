import pytest

from shared.records import Desired
from shared.spec import RunSpec, parse_spec
from shared.steps import total_steps


def desired(steps: int | None) -> Desired:
    return Desired(generation=1, state="running", steps=steps, time=0.0)


@pytest.mark.parametrize(("extended", "total"), [(None, 100), (150, 150), (50, 100)])
def test_an_extension_only_ever_makes_a_run_longer(extended: int | None, total: int) -> None:
    assert total_steps(RunSpec(steps=100), desired(extended)) == total


def test_a_run_started_by_hand_makes_the_steps_of_its_spec() -> None:
    assert total_steps(RunSpec(steps=100), None) == 100


@pytest.mark.parametrize("kind", ["cosine", "one-cycle"])
def test_a_run_whose_rate_depends_on_its_steps_is_as_long_as_its_spec_says(kind: str) -> None:
    spec = parse_spec({"steps": 100, "learning_rate": {"kind": kind}}, source="x")
    assert total_steps(spec, desired(150)) == 100
