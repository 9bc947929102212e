from urllib.request import urlopen

import pytest
from prometheus_client import CollectorRegistry

from shared.observe import add_build_info, add_process, serve_metrics


def test_metrics_are_served_until_they_are_stopped():
    registry = CollectorRegistry()
    add_build_info(registry, service="trainer", tensorflow="2.21.0")
    port, stop = serve_metrics(registry, host="127.0.0.1", port=0)
    try:
        with urlopen(f"http://127.0.0.1:{port}/metrics") as answer:
            text = answer.read().decode()
    finally:
        stop()
    assert 'service="trainer"' in text
    assert 'tensorflow="2.21.0"' in text


@pytest.mark.parametrize(
    ("file", "text", "limit"),
    [
        ("memory.max", "1073741824\n", 2**30),
        ("memory.max", "max\n", None),
        ("memory/memory.limit_in_bytes", "1073741824\n", 2**30),
        ("memory/memory.limit_in_bytes", "9223372036854771712\n", None),
        (None, "", None),
    ],
)
def test_the_limit_of_a_containers_memory_is_told_where_there_is_one(tmp_path, file, text, limit):
    if file is not None:
        (tmp_path / file).parent.mkdir(exist_ok=True)
        (tmp_path / file).write_text(text)
    registry = CollectorRegistry()
    add_process(registry, cgroup=tmp_path)
    assert registry.get_sample_value("tandem_memory_limit_bytes") == limit
    assert registry.get_sample_value("process_resident_memory_bytes") > 2**20
