import os

import numpy as np
import pytest
from evaluator_parts import EMA, work
from prometheus_client import CollectorRegistry, generate_latest

from services.evaluator.figures import Tally
from services.evaluator.ledger import Lag
from services.evaluator.metrics import EvaluatorMetrics


@pytest.fixture
def registry():
    return CollectorRegistry()


@pytest.fixture
def metrics(registry):
    return EvaluatorMetrics(registry)


@pytest.fixture
def figures():
    tally = Tally(classes=("a", "b", "c"), top_k=2)
    tally.add(np.float32([[2, 1, 0], [2, 1, 0]]), np.int32([0, 1]))
    return tally.figures()


def test_precision_is_that_of_the_newest_step_even_if_an_older_one_is_judged_later(registry, metrics, figures):
    labels = {"run": "r", "weights": "raw", "top": "1"}
    metrics.verdict("r", 20, "raw", figures, seconds=1.0)
    assert registry.get_sample_value("tandem_evaluation_precision", labels) == 0.5
    assert registry.get_sample_value("tandem_evaluation_precision", {**labels, "top": "2"}) == 1.0
    better = figures.__class__(**{**vars(figures), "precision_at_1": 0.9})
    metrics.verdict("r", 10, "raw", better, seconds=1.0)
    assert registry.get_sample_value("tandem_evaluation_precision", labels) == 0.5
    metrics.verdict("r", 30, "raw", better, seconds=1.0)
    assert registry.get_sample_value("tandem_evaluation_precision", labels) == 0.9
    assert registry.get_sample_value("tandem_evaluation_step", {"run": "r"}) == 30


def test_the_number_of_series_does_not_grow_with_the_number_of_runs(registry, metrics, figures):
    for number in range(300):
        metrics.verdict(f"run-{number}", 10, "raw", figures, seconds=1.0)
        metrics.lag([Lag(run=f"run-{number}", steps=5, since=1.0)], backlog=1, now=3.0)
    text = generate_latest(registry).decode()
    assert text.count("tandem_evaluation_step{") == 100
    assert text.count("tandem_evaluation_precision{") == 200
    assert text.count("tandem_evaluation_lag_steps{") == 1
    assert registry.get_sample_value("tandem_evaluation_lag_seconds", {"run": "run-299"}) == 2.0


def test_a_clock_that_was_set_back_makes_no_negative_figure(registry, metrics):
    metrics.lag([Lag(run="r", steps=5, since=100.0)], backlog=1, now=3.0)
    metrics.started(-50.0)
    assert registry.get_sample_value("tandem_evaluation_lag_seconds", {"run": "r"}) == 0.0
    assert registry.get_sample_value("tandem_evaluation_start_seconds_sum") == 0.0


def test_the_interval_of_the_newest_verdict_stands_beside_its_precision(registry, metrics, figures):
    metrics.verdict("r", 20, "ema-0.9999", figures, seconds=1.0)
    labels = {"run": "r", "weights": "ema-0.9999"}
    bounds = [
        registry.get_sample_value("tandem_evaluation_precision_interval", {**labels, "bound": bound})
        for bound in ("lower", "upper")
    ]
    assert bounds == list(figures.interval)
    assert bounds[0] < 0.5 < bounds[1]


def test_the_metrics_show_precision_and_lag(evaluator, runs):
    folder = runs.committed(10, 30)
    evaluator.loop.step()
    assert evaluator.metric("tandem_evaluation_lag_steps", run=folder.id) == 30
    evaluator.loop.step()
    assert evaluator.metric("tandem_evaluation_lag_steps", run=folder.id) == 0
    assert evaluator.metric("tandem_evaluation_precision", run=folder.id, weights=EMA, top="1") == 1.0
    assert evaluator.metric("tandem_evaluation_precision", run=folder.id, weights="raw", top="2") == 1.0
    assert evaluator.metric("tandem_evaluation_step", run=folder.id) == 30


def test_the_metrics_show_the_backlog_and_for_how_long_the_newest_has_been_waiting(evaluator, runs):
    folder = runs.committed(10, 20, 30)
    for step in (10, 20, 30):
        os.utime(folder.checkpoint(step), (step, step))
    evaluator.wall.now = 41.0  # the next reading is 42
    evaluator.loop.step()
    assert evaluator.metric("tandem_evaluation_backlog") == 3
    assert evaluator.metric("tandem_evaluation_lag_steps", run=folder.id) == 30
    assert evaluator.metric("tandem_evaluation_lag_seconds", run=folder.id) == 12.0
    evaluator.loop.step()
    assert evaluator.metric("tandem_evaluation_backlog") == 2
    assert evaluator.metric("tandem_evaluation_lag_steps", run=folder.id) == 0, "older ones are no lag"
    assert evaluator.metric("tandem_evaluation_lag_seconds", run=folder.id) == 0.0
    work(evaluator)
    assert evaluator.metric("tandem_evaluation_backlog") == 0
