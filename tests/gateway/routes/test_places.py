from typing import Any


def test_recipes_are_listed_with_what_they_set_and_broken_ones_say_so(bench: Any) -> None:
    broken, tiny = bench.client().get("/v1/recipes").json()["recipes"]
    assert (tiny["name"], tiny["values"]["steps"], tiny["problem"]) == ("tiny", 100, None)
    assert "a recipe is a mapping" in broken["problem"]


def test_slots_say_what_is_in_them(bench: Any) -> None:
    client = bench.client()

    def slot() -> Any:
        (found,) = client.get("/v1/slots").json()["slots"]
        return found

    bench.step()
    assert (slot()["state"], slot()["run"]) == ("free", None)
    run = bench.start()
    bench.step()
    assert (slot()["state"], slot()["run"], slot()["pid"]) == ("busy", run, 1001)
    bench.launcher.die("slot-0", 1)
    bench.step()
    assert (slot()["state"], slot()["run"]) == ("kept", run)


def test_a_slot_shows_the_devices_that_its_trainer_found(bench: Any) -> None:
    record = {"slot": "slot-0", "devices": [{"name": "CPU:0", "kind": "CPU"}], "host": "h", "versions": {}, "time": 0}
    bench.write_json(bench.volume.slot("slot-0").record, record)
    bench.step()
    (found,) = bench.client().get("/v1/slots").json()["slots"]
    assert [each["name"] for each in found["devices"]] == ["CPU:0"]
