"""A stack of the product `platform` under the real engine: NVIDIA's own services, our NIM played by a fake.

One test, since each start of the platform takes most of a minute of one core.
"""

import os
import signal
import stat
import time
from collections.abc import Callable

import httpx
import psutil
import pytest

from nemostack.clients import Timeouts
from nemostack.clients.platform import Platform
from nemostack.outputs import StackOutputs
from tests.deadlines import Deadline
from tests.local.conftest import TIMEOUT_S, Clone, platform_that_is_ready

pytestmark = pytest.mark.slow

SERVICES = {"platform", "nim", "mlflow", "judge"}
# the stack, its component, the supervisor, the model, and for each service a component and a process
RESOURCES = 4 + 2 * len(SERVICES)
MODEL = "huggingfacetb-smollm2-135m-instruct"


def wait_until(holds: Callable[[], bool]) -> None:
    deadline = Deadline(TIMEOUT_S)
    while not holds():
        assert not deadline.passed
        time.sleep(0.2)


def add_adapter(platform: Platform, name: str) -> None:
    platform.create_fileset(name, "model")
    platform.upload(name, "adapter_config.json", b"{}")
    platform.upload(name, "adapter_model.safetensors", b"weights")
    platform.create_adapter(MODEL, name, fileset=name)


def test_life_of_a_platform(clone: Clone) -> None:
    platform_that_is_ready(clone.path)
    clone.setting("nemostack:product: microservices", "nemostack:product: platform")
    assert f"+ {RESOURCES} created" in clone.up()
    assert set(clone.pids()) == SERVICES
    outputs = StackOutputs.model_validate_json(clone.nemostack("outputs"))
    assert outputs.product == "platform"
    assert outputs.base_model == f"default/{MODEL}"
    assert "<title>" in httpx.get(outputs.studio_url, follow_redirects=True, trust_env=False).text

    # all of it is private, on loopback, and none of it in the user's home directory
    assert {stat.S_IMODE((clone.stack / name).stat().st_mode) for name in ("data/platform", "config", "logs")} == {
        0o700
    }
    process = psutil.Process(clone.pid("platform"))
    assert {connection.laddr.ip for connection in process.net_connections() if connection.status == "LISTEN"} == {
        "127.0.0.1"
    }
    assert process.environ()["HOME"].startswith(str(clone.stack))

    # the platform finds NIM and what it serves; adapters get from a fileset to NIM and from NIM to the gateway
    platform = Platform(outputs.nemo_url, Timeouts())
    assert platform.served() == [f"default/{MODEL}"]
    add_adapter(platform, "legal")
    wait_until(lambda: "default/legal" in platform.served())
    assert (clone.stack / "data" / "platform" / "adapters" / "default--legal" / "adapter_config.json").exists()
    platform.delete_adapter(MODEL, "legal")
    wait_until(lambda: platform.served() == [f"default/{MODEL}"])

    # it keeps secrets, under a key of its own
    platform.save_secret("judge-key", "hush-hush")
    assert (clone.stack / "data" / "platform" / "secrets.key").exists()

    # a killed platform is drift, and comes back with its data
    add_adapter(platform, "kept")
    os.kill(clone.pid("platform"), signal.SIGKILL)
    assert f"{RESOURCES - 1} unchanged" in clone.up()
    wait_until(lambda: "default/kept" in platform.served())
    platform.close()

    # so does a provider that somebody deleted
    platform = Platform(outputs.nemo_url, Timeouts())
    platform.delete_provider("nim")
    wait_until(lambda: platform.served() == [])
    clone.up("--refresh")
    assert f"default/{MODEL}" in platform.served()
    platform.close()

    clone.down()
    assert clone.processes() == []
    assert clone.listening() == []
    assert sorted(path.name for path in clone.stack.iterdir()) == ["data", "logs"]
