"""The files that are to begin are there: one that was renamed would be forgotten."""

from nemostack.clone import ROOT
from tests.longest_first import LONGEST_FIRST, position


def test_files_that_take_longest_exist_and_come_first() -> None:
    assert len(set(LONGEST_FIRST)) == len(LONGEST_FIRST)
    paths = [ROOT / "tests" / name for name in LONGEST_FIRST]
    assert [path for path in paths if not path.exists()] == []
    others = str(ROOT / "tests" / "contract" / "test_common.py")
    assert sorted([others, *map(str, reversed(paths))], key=position) == [*map(str, paths), others]
