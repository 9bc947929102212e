from pathlib import Path

import pytest

from services.gateway.leftovers import remove_leftovers
from shared.layout import Volume

RUN, SLOT = "20260101-000000-some-0001", "slot-0"


@pytest.fixture
def volume(tmp_path: Path) -> Volume:
    return Volume(tmp_path)


def written(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("{")
    return path


def test_what_a_killed_gateway_left_half_written_is_removed_and_nothing_else(volume: Volume) -> None:
    run, slot = volume.run(RUN).root, volume.slot(SLOT).root
    left = [
        written(volume.gateway / ".tmp-settled.jsonl-26970-24957dc2"),
        written(volume.runs / ".tmp-20260101-000000-other-0002-26970-24957dc2" / "spec.json"),
        written(run / ".tmp-desired.json-26970-24957dc2"),
        written(run / ".tmp-tags.json-26970-24957dc2"),
        written(run / ".tmp-pins.json-26970-24957dc2"),
        written(run / ".tmp-aliases.json-26970-24957dc2"),
        written(volume.gateway / "slots" / ".tmp-slot-0.json-26970-24957dc2"),
        written(volume.gateway / "webhooks" / ".tmp-chat.json-26970-24957dc2"),
        written(slot / ".tmp-assignment.json-26970-24957dc2"),
    ]
    stays = [
        written(run / "desired.json"),
        written(run / "spec.json"),
        written(run / "trainer" / ".tmp-status.json-1-00000000"),  # of a trainer that lives
        written(slot / "assignment.json"),
        written(slot / ".tmp-slot.json-1-00000000"),  # of a trainer that lives
        written(volume.runs / "notes.txt"),
    ]

    remove_leftovers(volume)

    assert [path for path in left if path.exists()] == []
    assert [path for path in stays if not path.exists()] == []


def test_an_empty_volume_has_none(volume: Volume) -> None:
    remove_leftovers(volume)
    assert list(volume.root.iterdir()) == []
