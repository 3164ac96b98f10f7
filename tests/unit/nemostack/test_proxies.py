"""Loopback is asked without a proxy by every entry point: proven with one that is dead."""

import functools
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import HTTPServer, SimpleHTTPRequestHandler
from pathlib import Path

import httpx
import pytest

from nemostack import proxies
from operations.stacks import commands, environment
from operations.toolchain import programs

DEAD = "http://127.0.0.1:9"
ASK = """
import sys, urllib.request, httpx
urllib.request.urlopen(sys.argv[1], timeout=60)
httpx.get(sys.argv[1], timeout=60)
"""


@pytest.fixture
def dead_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
    for name in ("HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "ALL_PROXY", "all_proxy"):
        monkeypatch.setenv(name, DEAD)


@pytest.fixture
def server(tmp_path: Path) -> Iterator[str]:
    """Something that answers on loopback."""
    with HTTPServer(("127.0.0.1", 0), functools.partial(SimpleHTTPRequestHandler, directory=str(tmp_path))) as running:
        thread = threading.Thread(target=running.serve_forever, args=(0.01,))
        thread.start()
        yield f"http://127.0.0.1:{running.server_port}"
        running.shutdown()
        thread.join()


@pytest.mark.usefixtures("dead_proxy")
@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
def test_dead_proxy(server: str, host: str) -> None:
    url = server.replace("127.0.0.1", host)
    ask = [sys.executable, "-c", ASK, url]
    assert subprocess.run(ask, capture_output=True, check=False, timeout=120).returncode != 0  # the proxy is real
    env = dict(os.environ)
    proxies.prepare(env)
    subprocess.run(ask, env=env, check=True, timeout=120)


@pytest.mark.usefixtures("dead_proxy")
def test_commands_of_the_tools(server: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(programs, "ensure", lambda _names: {"pulumi": "/usr/bin/pulumi"})
    monkeypatch.setattr(environment, "STATE", tmp_path / ".nemostack")
    assert commands.run([sys.executable, "-c", ASK, server])[0] == 0


def test_entries_of_the_user_come_first_and_once() -> None:
    given = {"NO_PROXY": "corp, localhost", "no_proxy": "other,corp"}
    assert set(proxies.exclusions(given).values()) == {"corp,localhost,other,127.0.0.1,::1"}
    assert proxies.exclusions(proxies.exclusions(given)) == proxies.exclusions(given)
    assert proxies.exclusions({"no_proxy": "*"}) == {"NO_PROXY": "*", "no_proxy": "*"}


def test_socks_proxy_that_no_client_can_use() -> None:
    env = {"ALL_PROXY": "socks5://127.0.0.1:1080", "all_proxy": "SOCKS5h://x", "HTTPS_PROXY": "socks5://for-kubectl"}
    proxies.prepare(env)
    assert {name for name in env if name.upper() != "NO_PROXY"} == {"HTTPS_PROXY"}
    kept = {"ALL_PROXY": DEAD}
    proxies.prepare(kept)
    assert kept["ALL_PROXY"] == DEAD


def test_httpx_starts_when_the_socks_proxy_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "environ", os.environ.copy())
    os.environ["ALL_PROXY"] = "socks5://127.0.0.1:1080"
    proxies.prepare(os.environ)
    httpx.Client().close()
