"""Ways are tried in order, once; what fails is told with every way tried."""

import os
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from nemostack.errors import ToolchainError
from operations.toolchain import program_set as sets
from operations.toolchain import programs
from operations.toolchain.program_set import ProgramSet


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    (tmp_path / "bin").mkdir()
    return tmp_path / "cache" / "nemostack" / "tools"


def program(folder: Path, name: str, text: str = "#!/bin/sh\necho v9.1.0\n") -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_text(text)
    (folder / name).chmod(0o755)


def fills(folder: Path) -> None:
    program(folder / "bin", "p")
    program(folder / "bin", "q")


def fails(_folder: Path) -> None:
    raise ToolchainError("no way out")


def program_set(*ways: Any, good: Callable[[str], bool] = lambda _: True) -> ProgramSet:
    named = tuple((f"folder-{number}", f"way {number}", fill) for number, fill in enumerate(ways))
    return ProgramSet(programs=("p", "q"), good=good, wanted="p 9", ways=named, remedy="Install p.")


def test_on_path(tmp_path: Path) -> None:
    fills(tmp_path)
    assert program_set(fails).ensure() == {name: str(tmp_path / "bin" / name) for name in "pq"}


def test_incomplete_or_old_on_path_does_not_serve(tmp_path: Path, cache: Path) -> None:
    program(tmp_path / "bin", "p")
    assert program_set(fills).ensure()["p"] == str(cache / "folder-0" / "bin" / "p")
    program(tmp_path / "bin", "q")
    assert program_set(fills, good=lambda _: False).ensure()["p"] == str(cache / "folder-0" / "bin" / "p")


def test_next_way(cache: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert program_set(fails, fills).ensure()["q"] == str(cache / "folder-1" / "bin" / "q")
    assert "no way 0 here, trying the next way" in capsys.readouterr().err
    assert sorted(path.name for path in cache.iterdir()) == [".lock", "folder-1"]


def test_cached_needs_no_way() -> None:
    program_set(fills).ensure()
    assert program_set(fails).ensure()["p"].endswith("folder-0/bin/p")


def test_error_names_every_way() -> None:
    with pytest.raises(ToolchainError) as failed:
        program_set(fails, fails).ensure()
    assert str(failed.value) == (
        "cannot get p:\n  on PATH: p 9 with q is not there\n  way 0: no way out\n  way 1: no way out\nInstall p."
    )


def test_what_a_killed_installation_left_is_removed(cache: Path) -> None:
    program(cache / ".folder-0-abc", "half")
    program_set(fills).ensure()
    assert sorted(path.name for path in cache.iterdir()) == [".lock", "folder-0"]


def test_two_at_once_install_once() -> None:
    count = []

    def slowly(folder: Path) -> None:
        count.append(1)
        time.sleep(0.3)
        fills(folder)

    threads = [threading.Thread(target=program_set(slowly).ensure) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(count) == 1


@pytest.mark.parametrize(
    ("said", "good"),
    [
        ("v3.250.0", True),
        ("3.150.0", True),
        ("v3.149.9", False),
        ("v4.0.0", False),
        ("v3.180.0-dev", True),
        ("?", False),
    ],
)
def test_good_version(tmp_path: Path, said: str, good: bool) -> None:
    program(tmp_path / "bin", "pulumi", f"#!/bin/sh\necho {said}\n")
    assert programs.pulumi_is_good(str(tmp_path / "bin" / "pulumi")) is good


def test_program_that_does_not_start_is_not_good(tmp_path: Path) -> None:
    assert not programs.pulumi_is_good(str(tmp_path / "absent"))


def test_user_path_leaves_the_cache_out(monkeypatch: pytest.MonkeyPatch, cache: Path) -> None:
    monkeypatch.setenv("PATH", os.pathsep.join([str(cache / "x" / "bin"), "/usr/bin"]))
    assert sets.user_path() == "/usr/bin"


def test_unknown_set() -> None:
    with pytest.raises(ToolchainError, match="unknown programs pulum; known: pulumi, kubernetes, etcd, kwok, helm"):
        programs.ensure(["pulum"])


def test_nobody_builds_a_control_plane_unasked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    def recorded(name: str) -> ProgramSet:
        def fill(folder: Path) -> None:
            asked.append(name)
            program(folder / "bin", name)

        return ProgramSet(programs=(name,), good=bool, wanted="", remedy="", ways=((name, "build", fill),))

    monkeypatch.setattr(programs, "SETS", {name: recorded(name) for name in programs.SETS})
    assert list(programs.ensure()) == ["pulumi"] == asked
    assert list(programs.ensure(["etcd", "helm"])) == ["etcd", "helm"] == asked[1:]


def test_error_of_a_set_of_one() -> None:
    alone = ProgramSet(programs=("p",), good=lambda _: True, wanted="p 9", ways=(), remedy="Install p.")
    with pytest.raises(ToolchainError, match="on PATH: p 9 is not there"):
        alone.ensure()
