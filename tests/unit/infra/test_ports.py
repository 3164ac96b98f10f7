"""Ports that are not free are reported with who holds them."""

import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest

from infra.local import ports
from nemostack.ports import free_port


@pytest.fixture
def held() -> Iterator[Any]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


def test_own_processes_are_no_conflict(held: int) -> None:
    assert ports.conflicts({"nim": held}, {os.getpid()}) == []


def test_message_names_pid_command_and_remedy() -> None:
    program = (
        "import socket, sys; server = socket.create_server(('127.0.0.1', 0));"
        "print(server.getsockname()[1], flush=True); sys.stdin.read()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", program, "the-holder"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as holder:
        assert holder.stdout
        assert holder.stdin
        port = int(holder.stdout.readline())
        (line,) = ports.conflicts({"nim": port, "judge": free_port()}, set())
        holder.stdin.close()
    assert line.startswith(f"port {port} (nim) is held by pid {holder.pid} (")
    assert "the-holder" in line
    assert line.endswith("stop it, or set another nemostack:local.base_port")
