"""Evaluators that share the work, of which some are slow or dead."""

import threading

from evaluator_parts import EMA, work


def test_a_fleet_shares_the_work_and_judges_everything_once(make_evaluator, runs, clock):
    folders = [runs.run(f"20260101-000000-run-{number:04}") for number in range(2)]
    for folder in folders:
        for step in range(1, 31):
            runs.commit(folder, step)
    fleet = [make_evaluator(name=f"evaluator-{number}") for number in range(3)]
    threads = [threading.Thread(target=work, args=(member,)) for member in fleet]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    asked = [source for member in fleet for source in member.judge.asked]
    assert len(asked) == len(set(asked)) == 2 * 30 * 2
    assert all(member.judge.asked for member in fleet)


def test_f13_the_claim_of_a_dead_evaluator_expires_and_its_checkpoint_is_judged(make_evaluator, runs, clock):
    folder = runs.committed(10)
    make_evaluator(name="dead").claims.take(folder, 10)
    evaluator = make_evaluator(name="alive")
    assert work(evaluator) == 0
    clock.move(29)
    assert work(evaluator) == 0
    clock.move(2)
    assert work(evaluator) == 1
    assert folder.verdict(10, EMA).exists()


def test_one_that_was_overtaken_writes_over_no_verdict(make_evaluator, runs, clock, verdict):
    folder = runs.committed(10)
    slow, fast = make_evaluator(name="slow"), make_evaluator(name="fast")

    def overtaken(source):
        if source.endswith(EMA):
            assert fast.loop.step() is False
            clock.move(31)
            assert fast.loop.step() is True

    slow.judge.before = overtaken
    slow.loop.step()
    assert verdict(folder, 10, EMA).evaluator == "fast"
    assert verdict(folder, 10, "raw").evaluator == "slow"
