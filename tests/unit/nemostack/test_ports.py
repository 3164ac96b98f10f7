"""Free ports of loopback: different ones, that no outgoing connection takes."""

import socket
from pathlib import Path

import pytest

from nemostack import ports


def test_a_held_port_is_not_free() -> None:
    with socket.create_server((ports.HOST, 0)) as server:
        assert not ports.is_free(server.getsockname()[1])


def test_free_ports_are_different_and_outside_of_the_kernels_range(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    limits = tmp_path / "range"
    limits.write_text("10300\t60999\n")
    monkeypatch.setattr(ports, "OUTGOING", limits)
    found = ports.free_ports(200)
    assert len(set(found)) == 200
    assert max(found) < 10300


def test_held_ports_are_passed_over(monkeypatch: pytest.MonkeyPatch) -> None:
    held = ports.free_port()
    monkeypatch.setattr(ports, "LOWEST", held)
    monkeypatch.setattr(ports, "HIGHEST", held + 1)
    with socket.create_server((ports.HOST, held)), pytest.raises(OSError, match="no 1 free ports"):
        ports.free_ports(1)
    assert ports.free_ports(1) == [held]
