import json

from benchmarks.training.contest import Task


def test_what_is_written_down_of_a_task_names_no_place_on_this_machine() -> None:
    task = Task(
        dataset={"kind": "cifar10", "path": "/home/somebody/cifar"},
        volume="/tmp/somewhere/volume",
        batch_size=128,
        warmup_steps=30,
        measured_steps=200,
    )
    shown = task.shown()
    assert shown == {"dataset": {"kind": "cifar10"}, "batch_size": 128, "warmup_steps": 30, "measured_steps": 200}
    assert "some" not in json.dumps(shown)
    assert Task.from_json(task.to_json()) == task
