"""What is measured for scaling, and what the figures and pictures are made of."""

import xml.etree.ElementTree as ET

import pytest

from benchmarks.report import Report
from benchmarks.scaling import Case, Found, add_figures, cases, curves, draw, medians, run, table

PLANNED = cases(batches=[32, 128], threads=[1, 2], devices=[1, 2, 4])


def measured(factor=1.0):
    """Throughput grows with threads and the batch, and falls with devices."""
    return [
        Found(case, throughput=factor * 1000 * case.threads * case.batch / 128 / case.devices, memory=500 + case.batch)
        for case in PLANNED
    ]


def test_every_batch_is_measured_with_every_number_of_threads_and_of_devices_once():
    assert len(PLANNED) == len(set(PLANNED)) == 2 * (2 + 2)
    assert {(case.threads, case.devices) for case in PLANNED} == {(1, 1), (2, 1), (2, 2), (2, 4)}


def test_the_median_of_the_rounds_counts_for_each_case():
    found = medians([measured(1.0), measured(5.0), measured(2.0)])
    assert [one.case for one in found] == PLANNED
    assert found[0].throughput == pytest.approx(measured(2.0)[0].throughput)


def test_figures_are_ratios_to_one_device_with_all_threads_and_the_tutorials_batch():
    report = Report("scaling", None)
    add_figures(report, measured(), batch=128)
    values = {figure.name: figure.value for figure in report.figures}
    assert values["2 threads, batch 128: as fast as 1"] == pytest.approx(2)
    assert values["4 logical devices, batch 128: as fast as one"] == pytest.approx(1 / 4)
    assert values["batch 32: pictures per second, as many as with 128"] == pytest.approx(1 / 4)
    assert values["memory of the trainer's engine, batch 32"] == 532
    assert len(report.details["cases"]) == len(PLANNED)


def test_pictures_and_table_show_every_case(tmp_path):
    found = measured()
    assert curves(found, "memory")["4 logical devices"] == [(32, 532), (128, 628)]
    draw(tmp_path, found)
    for name in ("scaling-throughput.svg", "scaling-memory.svg"):
        text = "".join(ET.fromstring((tmp_path / name).read_text(encoding="utf-8")).itertext())
        assert all(word in text for word in ("1 thread", "2 threads", "2 logical devices", "4 logical devices"))
    assert len(table(found).splitlines()) == 2 + len(PLANNED)


def test_a_case_is_measured_in_a_process_with_so_many_devices():
    found = run(Case(threads=1, devices=2, batch=4), seconds=0.01)
    assert found.throughput > 0
    assert found.memory > 200


def test_a_case_that_fails_ends_the_measurement():
    # Three pictures cannot be split between two devices.
    with pytest.raises(SystemExit, match="ended with"):
        run(Case(threads=1, devices=2, batch=3), seconds=0.01)
