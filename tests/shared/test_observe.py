from urllib.request import urlopen

from prometheus_client import CollectorRegistry

from shared.observe import add_build_info, serve_metrics


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
