import gc
import weakref

import pytest

from nemostack.imports import without_collector


class Node:
    """Part of a circle, which the collector alone can free."""

    def __init__(self):
        self.itself = self


@pytest.fixture(autouse=True)
def unfrozen():
    yield
    gc.unfreeze()


def test_nothing_is_collected_meanwhile_and_all_that_comes_later_is():
    with without_collector():
        assert not gc.isenabled()
        imported = weakref.ref(Node())
    assert gc.isenabled()
    later = weakref.ref(Node())
    gc.collect()
    assert imported() is not None, "frozen"
    assert later() is None, "collected as ever"


def test_after_an_error_it_works_again_and_one_in_another_leaves_the_end_to_the_outer():
    with pytest.raises(ImportError), without_collector():
        raise ImportError("no such library")
    assert gc.isenabled()
    with without_collector():
        with without_collector():
            pass
        assert not gc.isenabled()
    assert gc.isenabled()
