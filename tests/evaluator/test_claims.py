import itertools
import threading

import pytest

from services.evaluator.claims import Claims
from shared.records import Lease, read_record


@pytest.fixture
def claims_of(clock):
    wall = itertools.count(1.0).__next__
    return lambda owner: Claims(owner=owner, clock=clock, wall=wall, expiry=30.0)


@pytest.fixture
def folder(runs):
    return runs.run()


def test_a_claim_lies_on_the_volume_until_it_is_released(claims_of, folder):
    claim = claims_of("one").take(folder, 7)
    lease = read_record(folder.lease(7), Lease)
    assert (lease.step, lease.owner, lease.beat) == (7, "one", 0)
    claim.beat()
    assert read_record(folder.lease(7), Lease).beat == 1
    claim.release()
    assert claim.lost
    assert not folder.lease(7).exists()


def test_a_claim_says_whether_it_is_held_and_stays_so_meanwhile(claims_of, folder, clock):
    one, two = claims_of("one"), claims_of("two")
    claim = one.take(folder, 7)
    two.take(folder, 7)
    clock.move(31)
    taken = []
    thread = threading.Thread(target=lambda: taken.append(two.take(folder, 7)))
    with claim.holding() as held:
        thread.start()
        thread.join(0.1)
        assert (held, taken) == (True, []), "who takes over waits"
    thread.join()
    assert taken[0] is not None
    with claim.holding() as held:
        assert not held


def test_a_run_that_is_deleted_in_the_instant_of_a_claim_or_a_heartbeat_does_not_come_back(folder, clock):
    deleting = False

    def wall():
        if deleting:
            folder.root.rename(folder.root.with_name(".trash-run"))
        return 1.0

    claims = Claims(owner="one", clock=clock, wall=wall, expiry=30.0)
    claim = claims.take(folder, 7)
    deleting = True
    with pytest.raises(FileNotFoundError):
        claim.beat()
    assert not folder.root.exists()

    folder.root.with_name(".trash-run").rename(folder.root)
    with pytest.raises(FileNotFoundError):
        claims.take(folder, 8)
    assert not folder.root.exists()


def test_what_another_holds_cannot_be_claimed(claims_of, folder, clock):
    one, two = claims_of("one"), claims_of("two")
    claim = one.take(folder, 7)
    for _ in range(10):
        clock.move(20)
        claim.beat()
        assert two.take(folder, 7) is None
    assert two.take(folder, 8) is not None
    claim.release()
    assert two.take(folder, 7) is not None


def test_an_abandoned_claim_is_taken_over_after_its_expiry_and_its_owner_notices(claims_of, folder, clock):
    old = claims_of("one").take(folder, 7)
    two = claims_of("two")
    assert two.take(folder, 7) is None
    clock.move(29)
    assert two.take(folder, 7) is None
    clock.move(2)
    new = two.take(folder, 7)
    assert new is not None
    old.beat()
    assert old.lost
    old.release()
    assert read_record(folder.lease(7), Lease).owner == "two"
    assert not new.lost


def test_a_claim_of_an_earlier_life_is_taken_over_at_once(claims_of, folder):
    claims_of("one").take(folder, 7)
    assert claims_of("one").take(folder, 7) is not None


def test_an_unreadable_lease_protects_nothing(claims_of, folder):
    folder.leases.mkdir()
    folder.lease(7).write_bytes(b"{")
    assert claims_of("one").take(folder, 7) is not None


def test_of_many_that_find_an_abandoned_claim_only_one_takes_it_over(claims_of, folder, clock):
    for step in range(20):
        claims_of("dead").take(folder, step)
        rivals = [claims_of(f"rival-{number}") for number in range(8)]
        assert not any(rival.take(folder, step) for rival in rivals)
        clock.move(31)
        barrier, won = threading.Barrier(len(rivals)), []

        def race(rival, step=step, barrier=barrier, won=won):
            barrier.wait()
            if claim := rival.take(folder, step):
                won.append(claim)

        threads = [threading.Thread(target=race, args=(rival,)) for rival in rivals]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(won) == 1


def test_a_claim_in_a_run_that_was_removed_is_an_error(claims_of, volume):
    with pytest.raises(FileNotFoundError):
        claims_of("one").take(volume.run("20260101-000000-gone-0001"), 7)
    assert not volume.runs.exists()


def test_a_claim_whose_run_is_removed_is_lost_without_a_word(claims_of, folder):
    claim = claims_of("one").take(folder, 10)
    folder.root.rename(folder.root.with_name(".trash"))
    claim.beat()
    assert claim.lost
    claim.release()
    assert not folder.root.exists()


def test_release_all_gives_back_whatever_is_held(claims_of, folder):
    claims = claims_of("one")
    for step in (1, 2):
        claims.take(folder, step)
    claims.release_all()
    assert not folder.lease(1).exists()
    assert not folder.lease(2).exists()
