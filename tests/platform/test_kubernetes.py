"""What our program says to a platform on Kubernetes, held against NVIDIA's own models and a platform that runs here.

Jobs and deployments are not started: this machine has no cluster. That the images of the same version read the same
settings follows from the version, which is pinned for both.
"""

import json
import os
import subprocess
import sys
from importlib.resources import files
from typing import Any

import pytest
from nemo_platform import NeMoPlatform
from nemo_platform_plugin.files.storage_config import S3StorageConfig
from nemo_platform_plugin.jobs.execution_profiles import KubernetesJobExecutionProfile, VolcanoJobExecutionProfile
from nmp.core.auth.config import AuthServiceConfig
from nmp.core.models.app.utils import normalize_model_entity_name
from nmp.core.models.schemas import (
    CreateModelDeploymentConfigRequest,
    CreateModelDeploymentRequest,
    CreateModelEntityRequest,
    CreateModelProviderRequest,
)
from pydantic import BaseModel

from infra import config
from infra.config import ClusterStackConfig
from infra.nemo.platform_models import registrations
from infra.nemo.platform_values import platform_values
from infra.nemo.values import Surroundings
from infra.platform.credentials import CredentialNames
from infra.topology import resolve_topology
from nemostack.entity_names import entity_name

AROUND = Surroundings(credentials=CredentialNames(ngc="ngc-api", pull="pull", hf=None), rwx_storage_class="shared")
NIM = {"image": "nvcr.io/nim/meta/llama-3.2-3b-instruct", "tag": "1.8.3"}
NIMS = [
    NIM | {"name": "theirs", "model": "meta/llama-3.2-3b-instruct", "deploy": "chart"},
    NIM | {"name": "own", "model": "meta/llama-3.1-8b-instruct", "deploy": "platform"},
]
PLATFORM = {
    "keep_microservices": True,
    "oidc": {
        "issuer": "https://id.example.com",
        "client_id": "nemo",
        "admin_email": "admin@example.com",
        "audience": "nemo",
        "scope_prefix": "api://nemo/",
    },
}


def settings(backend: str = "kubernetes") -> ClusterStackConfig:
    sections = {
        "storage": {"rwx_class_name": "shared"},
        "platform": PLATFORM | {"jobs": {"backend": backend}},
        "nims": NIMS,
    }
    raw = {f"nemostack:{key}": json.dumps(value) for key, value in sections.items()}
    product = {"nemostack:target": "existing", "nemostack:product": "platform", "nemostack:ngc_api_key": "k"}
    loaded = config.load(product | raw)
    assert isinstance(loaded, ClusterStackConfig)
    return loaded


def platform_config(backend: str = "kubernetes") -> dict[str, Any]:
    stack = settings(backend)
    return dict(platform_values(stack.platform, stack.observability, resolve_topology(stack), AROUND)["platformConfig"])


def unknown(model: type[BaseModel], body: Any) -> set[str]:
    """Fields that the model does not have: most of NVIDIA's ignore them."""
    return set(body) - set(model.model_fields)


def check(model: type[BaseModel], body: dict[str, Any]) -> Any:
    assert not unknown(model, body)
    return model.model_validate(body)


@pytest.mark.parametrize("name", ["meta/llama-3.2-3b-instruct", "01-ai/Yi-large", "model:v1.0", "A__b--c/", "-x-y-"])
def test_entities_are_called_as_the_platform_calls_them(name: str) -> None:
    assert entity_name(name) == normalize_model_entity_name(name)


def test_bodies_are_those_of_the_api() -> None:
    stack = settings()
    provider, deployment = registrations(stack.nims, resolve_topology(stack))
    check(CreateModelEntityRequest, provider["entity"])
    check(CreateModelProviderRequest, provider["provider"])
    check(CreateModelDeploymentRequest, deployment["deployment"])
    made = check(CreateModelDeploymentConfigRequest, deployment["config"])
    assert not unknown(type(made.model_spec), deployment["config"]["model_spec"])
    container = deployment["config"]["executor_config"]
    assert not unknown(type(made.executor_config), container)
    pods = made.executor_config.k8s_nim_operator_config
    assert not unknown(type(pods), container["k8s_nim_operator_config"])
    assert pods.startup_probe_grace_seconds == 1800
    assert made.executor_config.gpu == 1


@pytest.mark.parametrize("backend", ["kubernetes", "kai", "volcano"])
def test_profiles_of_jobs_are_those_of_the_platform(backend: str) -> None:
    profiles: dict[str, type[BaseModel]] = {
        "kubernetes_job": KubernetesJobExecutionProfile,
        "volcano_job": VolcanoJobExecutionProfile,
    }
    jobs = platform_config(backend)["jobs"]
    for executor in jobs["executors"]:
        made = check(profiles[executor["backend"]], executor)
        assert not unknown(type(made.config), executor["config"])
    for kind, defaults in jobs["executor_defaults"].items():
        provider = "cpu" if kind == "kubernetes_job" else "gpu_distributed"
        body = {"provider": provider, "profile": "p", "backend": kind, "config": defaults}
        made = check(profiles[kind], body)
        assert not unknown(type(made.config), defaults)
        assert made.config.ttl_seconds_before_active == 3600


def test_files_and_users_are_configured_as_the_platform_reads_it() -> None:
    found = platform_config()
    storage = check(S3StorageConfig, found["files"]["default_storage_config"])
    assert storage.use_sdk_auth
    auth = check(AuthServiceConfig, found["auth"])
    assert not unknown(type(auth.oidc), found["auth"]["oidc"])
    assert auth.oidc.issuer == "https://id.example.com"


def test_a_running_platform_takes_what_the_job_tells_it(platform_url: str, client: NeMoPlatform) -> None:
    """A provider, since this platform deploys nothing. Nobody answers at its address, so it never gets ready."""
    stack = settings()
    provider = registrations(stack.nims, resolve_topology(stack))[0]
    provider["provider"]["host_url"] = "http://127.0.0.1:9"
    environment = {
        "NMP_BASE_URL": platform_url,
        "REGISTRATIONS": json.dumps([provider]),
        "DEADLINE_S": "0",
        "PATH": os.environ["PATH"],
    }
    program = (files("infra.nemo") / "register_models.py").read_text(encoding="utf-8")
    command = [sys.executable, "-I", "-S", "-c", program]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (1, "the time is over\n"), done.stdout
    assert "provider theirs is" in done.stdout
    assert client.models.retrieve("meta-llama-3-2-3b-instruct").name == "meta-llama-3-2-3b-instruct"
    assert client.inference.providers.retrieve("theirs").host_url == "http://127.0.0.1:9"
