"""A service that runs but does not answer is restarted, not adopted."""

import pytest

from tests.local.conftest import Clone

pytestmark = pytest.mark.slow


def test_a_hung_service_is_restarted_by_up_after_refresh(clone: Clone) -> None:
    clone.up()
    before = clone.pids()
    clone.order("judge.hang")
    assert "judge deleted" in clone.pulumi("refresh", "--yes", "--skip-preview")
    assert not (clone.path / "orders" / "judge.hang").exists(), "the fake was not asked"
    output = clone.up()
    assert "judge runs but does not answer: it will be restarted" in output
    assert "+ 1 created" in output
    after = clone.pids()
    assert [name for name in before if before[name] != after[name]] == ["judge"]
    clone.down()
    assert clone.processes() == []
