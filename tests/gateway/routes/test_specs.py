from typing import Any

from shared.spec import RunSpec


def check(bench: Any, **body: Any) -> Any:
    answer = bench.client().post("/v1/specs:check", json=body)
    assert answer.status_code == 200, answer.text
    return answer.json()


def test_the_schema_knows_every_key_of_a_specification(bench: Any) -> None:
    schema = bench.client().get("/v1/specs/schema").json()
    assert set(schema["properties"]) == set(RunSpec.model_fields)


def test_a_right_specification_comes_back_whole_and_nothing_is_started(bench: Any) -> None:
    answer = check(bench, recipe="tiny", spec={"seed": 3})
    assert answer["problems"] == []
    assert RunSpec.model_validate(answer["spec"]) == RunSpec.model_validate(
        {"name": "tiny", "steps": 100, "dataset": {"kind": "shapes"}, "seed": 3}
    )
    assert bench.client().get("/v1/runs").json()["runs"] == []


def test_each_problem_stands_beside_the_path_of_its_field(bench: Any) -> None:
    wrong = {"steps": 0, "learning_rate": {"kind": "cosine", "initial": -1}, "colour": 1, "ema": {"decays": [2]}}
    fields = [each["field"] for each in check(bench, spec=wrong)["problems"]]
    assert sorted(set(fields) - {"ema.decays"}) == ["colour", "ema.decays.0", "learning_rate.initial", "steps"]


def test_the_first_problem_says_what_is_wrong_in_words(bench: Any) -> None:
    problem = check(bench, spec={"stepz": 1})["problems"][0]
    assert problem == {"field": "stepz", "message": "unknown key"}


def test_another_kind_takes_the_place_of_the_one_in_the_recipe(bench: Any) -> None:
    answer = check(bench, recipe="tiny", spec={"dataset": {"kind": "npz", "path": "/data/x.npz"}})
    assert answer["problems"] == []
    assert answer["spec"]["dataset"]["path"] == "/data/x.npz"


def test_a_fork_is_checked_with_the_specification_of_its_run(bench: Any) -> None:
    run = bench.start(seed=5)
    assert check(bench, run=run, spec={"steps": 200})["spec"]["seed"] == 5
    assert bench.client().post("/v1/specs:check", json={"run": "nothing"}).status_code == 404
