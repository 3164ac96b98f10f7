"""A platform of its own for the tests: NVIDIA's services in a process, on a free port, with its files in a folder."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest
from nemo_platform import NeMoPlatform

from nemostack.ports import free_port
from tests.deadlines import Deadline

NEMO = Path(sys.executable).parent / "nemo"
SERVICES = "entities,auth,jobs,secrets,files,models,customization,inference-gateway"
START_S = 300
CONFIG = """
platform: {{runtime: none, base_url: "{url}", seed_on_startup: {seed}}}
auth: {auth}
jobs:
  schedule_interval_seconds: 1
  reconcile_interval_seconds: 1
  executor_defaults: {{subprocess: {{working_directory: "{folder}/jobs"}}}}
files: {{default_storage_config: {{type: local, path: "{folder}/files"}}}}
inference_gateway: {{refresh_model_cache_interval_sec: 1}}
"""


@contextmanager
def running_platform(folder: Path, *, auth: str, roles: bool = False) -> Iterator[str]:
    """Run a platform with its files in `folder`, and with users as `auth` says; its URL.

    `roles`: the platform gives the roles that NVIDIA's own does when it starts for the first time.
    """
    home, log = folder / "home", folder / "services.log"
    home.mkdir()
    url = f"http://127.0.0.1:{free_port()}"
    config = folder / "platform.yaml"
    config.write_text(CONFIG.format(url=url, folder=folder, auth=auth, seed=str(roles).lower()))
    environment = {
        "PATH": os.environ["PATH"],
        "HOME": str(home),
        **{f"XDG_{name}_HOME": str(home) for name in ("STATE", "CONFIG", "CACHE", "DATA")},
        "NMP_DATA_DIR": str(folder),
        "OTEL_SDK_DISABLED": "true",
        "DO_NOT_TRACK": "1",
        "NEMOSTACK_TRAINING_THREADS": "1",
        **{f"NMP_PLATFORM_SEED_{what}_ENABLED": "false" for what in ("GUARDRAILS", "MODEL_PROVIDER")},
    }
    port = url.rpartition(":")[2]
    command = [str(NEMO), "services", "run", "--config", str(config), "--host", "127.0.0.1", "--port", port]
    command += ["--instance", f"tests-{port}", "--services", SERVICES, "--controllers", "entities,jobs"]
    with log.open("w") as output:
        process = subprocess.Popen(command, env=environment, stdout=output, stderr=output, start_new_session=True)
    try:
        _wait(url, process, log)
        yield url
    finally:
        os.killpg(process.pid, signal.SIGTERM)
        try:
            process.wait(30)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


@pytest.fixture(scope="session")
def platform_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with running_platform(tmp_path_factory.mktemp("platform"), auth="{enabled: false}") as url:
        yield url


def _wait(url: str, process: "subprocess.Popen[bytes]", log: Path) -> None:
    deadline = Deadline(START_S)
    while True:
        assert process.poll() is None, f"the platform ended: {log.read_text()[-3000:]}"
        try:
            if httpx.get(f"{url}/health/ready", timeout=5).status_code == 200:
                return
        except httpx.HTTPError:
            pass
        assert not deadline.passed, f"the platform is not ready: {log.read_text()[-3000:]}"
        time.sleep(0.3)


@pytest.fixture(scope="session")
def client(platform_url: str) -> NeMoPlatform:
    return NeMoPlatform(base_url=platform_url, workspace="default")
