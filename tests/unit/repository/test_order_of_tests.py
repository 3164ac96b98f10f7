"""How processes share tests: the files that are to begin are there, and a group stays together."""

import re
import subprocess
import sys
from pathlib import Path

from nemostack.clone import ROOT
from tests.longest_first import LONGEST_FIRST, position


def test_files_that_take_longest_exist_and_come_first() -> None:
    assert len(set(LONGEST_FIRST)) == len(LONGEST_FIRST)
    paths = [ROOT / "tests" / name for name in LONGEST_FIRST]
    assert [path for path in paths if not path.exists()] == []
    others = str(ROOT / "tests" / "contract" / "test_common.py")
    assert sorted([others, *map(str, reversed(paths))], key=position) == [*map(str, paths), others]


IN_A_GROUP = """
import pytest


@pytest.mark.xdist_group("one")
@pytest.mark.parametrize("number", range(4))
def test_it(number, worker_id):
    print("in", worker_id)
"""


def test_tests_of_a_group_run_in_one_process(tmp_path: Path) -> None:
    for name in ("first", "second"):
        (tmp_path / f"test_{name}.py").write_text(IN_A_GROUP)
    plugins = ["-p", "tests.conftest", "-p", "no:cacheprovider"]
    chosen = ["-n", "2", "--dist", "loadgroup", "-rP", "-c", str(ROOT / "pyproject.toml"), str(tmp_path)]
    command = [sys.executable, "-m", "pytest", *plugins, *chosen]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300, check=False)
    workers = re.findall(r"^in (gw\d)$", done.stdout, re.MULTILINE)
    assert len(workers) == 8, done.stdout[-4000:]
    assert len(set(workers)) == 1
