import pytest

from services.evaluator.export_retention import dispensable
from shared.records import Alias, Aliases, Canary, Move


@pytest.mark.parametrize(
    ("precisions", "gone"),
    [
        ([], []),
        ([(1, 0.5)], []),
        ([(1, 0.9), (2, 0.1), (3, 0.1), (4, 0.1)], [2]),
        ([(1, 0.1), (2, 0.9), (3, 0.1), (4, 0.1)], [1]),
        ([(1, 0.9), (2, 0.9), (3, 0.9), (4, 0.1), (5, 0.1)], [2]),
        ([(1, 0.1), (2, 0.2), (3, 0.3)], [1]),
    ],
)
def test_retention_gives_up_neither_the_best_nor_the_newest(precisions, gone):
    assert dispensable(precisions, keep=2) == gone


def test_retention_keeps_what_aliases_need_and_everything_while_that_is_unknown():
    precisions = [(step, step / 10) for step in range(1, 9)]
    assert dispensable(precisions, keep=1, held=frozenset({2, 5})) == [1, 3, 4, 6, 7]
    assert dispensable(precisions, keep=1, held=None) == []


def moves(*steps):
    return tuple(Move(step=step, precision_at_1=0.5, reason="", time=0) for step in steps)


def test_aliases_need_what_they_point_at_try_out_and_would_go_back_to():
    aliases = Aliases(
        aliases={"best": Alias(moves=moves(1, 2, 3)), "stable": Alias(moves=moves(7), canary=Canary(step=9, share=0.1))}
    )
    assert aliases.steps == {2, 3, 7, 9}


def test_an_alias_that_was_put_where_it_was_needs_what_it_would_go_back_to_all_the_same():
    assert Aliases(aliases={"stable": Alias(moves=moves(5, 10, 10, 10))}).steps == {5, 10}
    assert Alias(moves=moves(0, 10)).needed == {0, 10}
    assert Alias(moves=moves(10, 10)).before is None
