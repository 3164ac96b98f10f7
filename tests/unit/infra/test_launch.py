"""A service sees no secrets of the shell that ran `pulumi up`, and no proxy between it and its like."""

import subprocess
from pathlib import Path
from typing import Any

import pytest

from infra.local.daemon import Daemon
from infra.local.folders import StackFolder
from infra.local.launch import environment
from nemostack.errors import LocalServiceError


def test_secrets_stay_outside() -> None:
    inherited = {"PATH": "/bin", "AWS_SECRET_ACCESS_KEY": "s", "PULUMI_CONFIG_PASSPHRASE_FILE": "f", "HF_HOME": "/h"}
    proxies = {"HTTPS_PROXY": "http://proxy", "NO_PROXY": "corp", "no_proxy": "corp"}
    seen = environment({"PYTHONUNBUFFERED": "1"}, inherited | proxies)
    assert seen == {"PATH": "/bin", "HF_HOME": "/h", "PYTHONUNBUFFERED": "1", **proxies}
    assert environment({}, {"NEMOSTACK_LOG_FORMAT": "json"}) == {"NEMOSTACK_LOG_FORMAT": "json"}


def test_the_token_of_the_hub_is_for_those_that_need_it() -> None:
    inherited = {"HF_HOME": "/h", "HF_TOKEN": "s", "GITHUB_TOKEN": "t"}
    assert environment({}, inherited) == {"HF_HOME": "/h"}
    assert environment({}, inherited, ["HF_TOKEN"]) == {"HF_HOME": "/h", "HF_TOKEN": "s"}


def test_supervisor_starts_without_a_proxy_on_loopback(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    given: list[dict[str, str]] = []

    def run(command: list[str], *, env: dict[str, str], **_: Any) -> subprocess.CompletedProcess[str]:
        given.append(env)
        return subprocess.CompletedProcess(command, 1, "", "did not")

    monkeypatch.setattr(subprocess, "run", run)
    monkeypatch.setenv("NO_PROXY", "corp")
    monkeypatch.delenv("no_proxy", raising=False)
    monkeypatch.setenv("ALL_PROXY", "socks5://127.0.0.1:1080")
    with pytest.raises(LocalServiceError, match="did not"):
        Daemon(StackFolder(tmp_path)).start()
    [env] = given
    assert env["NO_PROXY"] == env["no_proxy"] == "corp,127.0.0.1,localhost,::1"
    assert "ALL_PROXY" not in env
