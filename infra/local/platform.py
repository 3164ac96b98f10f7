"""A local stack of the product `platform`: NVIDIA's own services in one process, and NIM, MLflow and the judge.

Our Data Store, Entity Store, Customizer, Evaluator and gateway are not started: the platform has its own. NIM is known
to it as a model deployment, and serves the adapters that the platform's own sidecar puts into a folder. Everything that
the platform keeps is in its data folder, which is its home directory too: Studio reads a coding agent's sessions there.
"""

from dataclasses import dataclass
from typing import Any

from infra.local.services import JUDGE_MODEL, Plan, ServiceSpec, source_digest
from nemostack import entity_names
from nemostack.entity_names import WORKSPACE
from nemostack.errors import LocalServiceError
from nemostack.outputs import StackOutputs

ENVIRONMENT = ".venv-platform"
CONTROLLERS = ("entities", "jobs", "agents-deployment", "nemostack-models")
"""All that the platform starts by default, with `nemostack-models` in the place of `models` (embedded/platform)."""
PLUGINS = ("platform", "training_hub")
"""Packages of `embedded/` that run inside the platform's process."""
START_TIMEOUT_S = 600  # 15 s on an idle machine; the first time it compiles what it imports, 255 s beside other work
REFRESH_S = 5
"""How often the gateway looks for models, the sidecar for adapters, and the job service at what runs. For each look the
platform asks itself a dozen things: looking every 2 s took half a core, without anything to do."""


def entity_name(model_id: str) -> str:
    """Name of the base model's entity. LocalServiceError when nothing is left of its id, or too much."""
    try:
        return entity_names.entity_name(model_id)
    except ValueError as error:
        raise LocalServiceError(f"local.base_model.id {error}") from None


@dataclass(frozen=True, kw_only=True)
class PlatformPlan(Plan):
    """The services of a stack of this product, and where they are."""

    @property
    def port_offsets(self) -> dict[str, int]:
        """The platform has the gateway's port, the others have their own."""
        return {"platform": 0, "nim": 2, "mlflow": 3, "judge": 4}

    @property
    def nemo(self) -> str:
        """NVIDIA's command, in its own environment."""
        return str(self.root / ENVIRONMENT / "bin" / "nemo")

    @property
    def programs(self) -> dict[str, str]:
        """What must be installed, and how."""
        return super().programs | {self.nemo: "run `nemostack up`, which installs what this product needs"}

    @property
    def entity(self) -> str:
        """Name of the base model's entity."""
        return entity_name(self.settings.base_model.id)

    @property
    def served_model(self) -> str:
        """Id by which NIM and the gateway serve the base model."""
        return f"{WORKSPACE}/{self.entity}"

    def services(self) -> list[ServiceSpec]:
        """List the services, each after those it needs to start."""
        return [
            self.mlflow(),
            self.embedded("judge", "Judge", {"model_id": JUDGE_MODEL}),
            self.nim(self.served_model, {"peft_source": str(self._data / "adapters")}, after=()),
            self.platform(),
        ]

    @property
    def _data(self) -> Any:
        return self.folder.data / "platform"

    def platform(self) -> ServiceSpec:
        """Describe NVIDIA's services: one process, its whole configuration in the stack's folder (JSON is YAML)."""
        home = self._data / "home"
        port = str(self.ports["platform"])
        settings = {
            "platform": {"runtime": "none", "base_url": self.url("platform")},
            "auth": {"enabled": False},
            "studio": {"telemetry_enabled": False},
            "files": {"default_storage_config": {"type": "local", "path": str(self._data / "files")}},
            "jobs": {
                "reconcile_interval_seconds": REFRESH_S,
                "executors": [
                    {
                        "provider": "subprocess",
                        "profile": "default",
                        "backend": "subprocess",
                        "config": {"working_directory": str(self._data / "jobs")},
                    }
                ],
                "executor_defaults": {"subprocess": {"working_directory": str(self._data / "jobs")}},
            },
            "inference_gateway": {"refresh_model_cache_interval_sec": REFRESH_S},
            # Without a key of its own the service of secrets answers 500 to all that is kept there.
            "secrets": {"allow_key_creation": True, "local_key_creation_path": str(self._data / "secrets.key")},
        }
        command = [
            *(self.nemo, "services", "run", "--config", str(self.folder.config / "platform.json")),
            *("--host", "127.0.0.1", "--port", port, "--instance", f"nemostack-{port}"),
            *("--service-group", "all", "--controllers", ",".join(CONTROLLERS)),
        ]
        return ServiceSpec(
            name="platform",
            title="NeMo Platform",
            command=command,
            settings=settings,
            # Not /health/ready, which also says no when its database was slow to answer: that is no reason to restart.
            health_path="/health/live",
            timeout_s=START_TIMEOUT_S,
            environment={
                "NMP_DATA_DIR": str(self._data),
                "HOME": str(home),
                **{f"XDG_{kind}_HOME": str(home / kind.lower()) for kind in ("CONFIG", "DATA", "STATE", "CACHE")},
                # Nothing on this machine reports home, and nothing is fetched to be told what models cost.
                "OTEL_SDK_DISABLED": "true",
                "LITELLM_LOCAL_MODEL_COST_MAP": "True",
                "ANONYMIZED_TELEMETRY": "false",
                # For the sidecar that brings adapters to NIM, and for the controller that knows it.
                "NIM_PEFT_SOURCE": str(self._data / "adapters"),
                "NIM_PEFT_REFRESH_INTERVAL": str(REFRESH_S),
                "NMP_MODEL_ENTITY_WORKSPACE": WORKSPACE,
                "NMP_MODEL_ENTITY_NAME": self.entity,
                "NEMOSTACK_NIM_URL": self.url("nim"),
                **self.training(),
            },
            code=source_digest([self.root / "embedded" / package for package in PLUGINS])[:16],
        )

    def training(self) -> dict[str, str]:
        """What the training backends read: the interpreter with PyTorch, their share of the GPUs, and NIM's limit."""
        prefix, limits = "NEMOSTACK_TRAINING_", self.customizer_settings()
        chosen = {
            "PYTHON": str(self.python),
            "ACCELERATOR": self.accelerator,
            "MAX_SERVED_RANK": str(self.settings.nim.max_lora_rank),
        }
        if self.shares is not None:
            chosen["GPUS"] = ",".join(map(str, limits["gpus"]))
            chosen["GPU_MEMORY_FRACTION"] = str(limits["gpu_memory_fraction"])
        if limits["threads"] is not None:
            chosen["THREADS"] = str(limits["threads"])
        return {f"{prefix}{key}": value for key, value in chosen.items()}

    def model_props(self) -> dict[str, Any]:
        """Describe the base model for the resource that makes it known to the platform."""
        return {
            "url": self.url("platform"),
            "nim_url": self.url("nim"),
            "name": self.entity,
            "path": self.model_path,
            "id": self.settings.base_model.id,
        }

    def outputs(self) -> StackOutputs:
        """Make what the stack tells the world."""
        return StackOutputs(
            product="platform",
            target="local",
            nemo_url=self.url("platform"),
            data_store_url="",
            nim_url=self.url("nim"),
            nim_internal_url=self.url("nim"),
            mlflow_url=self.url("mlflow"),
            judge_url=self.url("judge"),
            judge_model=JUDGE_MODEL,
            base_model=self.served_model,
            customization_config=self.served_model,
            studio_url=f"{self.url('platform')}/studio/",
            log_commands=self.log_commands,
        )
