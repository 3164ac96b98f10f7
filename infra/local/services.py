"""The services of a local stack: a pure function from settings to service specifications.

Ports follow each other from `base_port`. The gateway stands for the ingress of a cluster: Entity Store, Customizer
and Evaluator share its address, while NIM and Data Store have their own (their paths collide with theirs).
"""

import hashlib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from infra.config import LocalSettings
from infra.local.accelerator import Shares
from infra.local.folders import StackFolder
from nemostack import sample_model
from nemostack.outputs import StackOutputs

PORT_OFFSETS = {
    "gateway": 0,
    "data_store": 1,
    "nim": 2,
    "mlflow": 3,
    "judge": 4,
    "entity_store": 5,
    "customizer": 6,
    "evaluator": 7,
}
ROUTES = {
    "entity_store": ("/v1/namespaces", "/v1/projects", "/v1/datasets", "/v1/models"),
    "customizer": ("/v1/customization", "/v1/customizations"),
    "evaluator": ("/v1/evaluation", "/v2/evaluation", "/v1/evaluations"),
}
JUDGE_MODEL = "nemostack/similarity-judge"
CUSTOMIZER_VERSION = {"cpu": "v1.0.0+CPU", "cuda": "v1.0.0+GPU"}
ENVIRONMENTS = {"cpu": ".venv-embedded", "cuda": ".venv-embedded-cuda"}
NIM_LIMITS = {
    "cpu": {"max_loras": 4, "max_cpu_loras": 16, "max_num_seqs": 64},
    "cuda": {"max_loras": 32, "max_cpu_loras": 64, "max_num_seqs": 512, "max_num_batched_tokens": 8192},
}
GPU_START_TIMEOUT_S = 900  # vLLM compiles the model and captures graphs, and may have to download the model first
ENVIRONMENT = {
    "PYTHONUNBUFFERED": "1",
    "TOKENIZERS_PARALLELISM": "false",
    # Nothing on this machine reports home.
    "DO_NOT_TRACK": "1",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "VLLM_NO_USAGE_STATS": "1",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    # Its scheduled jobs judge traces with an LLM; nobody here asks for that, and they are more processes.
    "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
}
LOG_LINES = "200"


@dataclass(frozen=True, kw_only=True)
class ServiceSpec:
    """One service: what runs, with which settings, when it is up, and what must be up before it.

    `inherits` names the secrets of the shell that it cannot do without.
    """

    name: str
    title: str
    command: list[str]
    settings: dict[str, Any]
    health_path: str = "/health"
    timeout_s: int = 300
    after: tuple[str, ...] = ()
    inherits: tuple[str, ...] = ()
    environment: dict[str, str] = field(default_factory=dict)
    code: str = field(default="", repr=False)


@dataclass(frozen=True, kw_only=True)
class Plan:
    """All services of a stack, and where they are."""

    root: Path
    folder: StackFolder
    settings: LocalSettings
    shares: Shares | None = None  # of the GPUs; None: all compute on the CPU

    @property
    def accelerator(self) -> Literal["cpu", "cuda"]:
        """What the services compute on."""
        return "cpu" if self.shares is None else "cuda"

    @property
    def python(self) -> Path:
        """The interpreter of the embedded services."""
        return self.root / ENVIRONMENTS[self.accelerator] / "bin" / "python"

    @property
    def programs(self) -> dict[str, str]:
        """What must be installed, and how."""
        needed = {str(self.python): "run `nemostack up`, which installs what the local stack needs"}
        path = self.settings.base_model.path
        if path is None:
            needed[self.model_path] = "run `make embedded-env`, which fetches the default base model"
        elif path.count("/") != 1 and not Path(self.model_path).is_dir():
            needed[self.model_path] = "local.base_model.path names neither a folder nor a model of the Hugging Face Hub"
        return needed

    @property
    def environment(self) -> dict[str, str]:
        """What all services see; those of a stack on the CPU see no GPU."""
        if self.shares is None:
            return ENVIRONMENT | {"CUDA_VISIBLE_DEVICES": ""}
        return ENVIRONMENT | {"CUDA_DEVICE_ORDER": "PCI_BUS_ID"}

    def nim_settings(self) -> dict[str, Any]:
        """Limits of NIM: those that were set, and for the others what suits the accelerator."""
        limits: dict[str, Any] = dict(NIM_LIMITS[self.accelerator])
        limits |= self.settings.nim.model_dump(exclude_none=True)
        if limits["max_loras"] > limits["max_cpu_loras"]:  # one of the two was set
            key = "max_loras" if self.settings.nim.max_loras is None else "max_cpu_loras"
            limits[key] = limits["max_cpu_loras" if key == "max_loras" else "max_loras"]
        if self.shares is not None:
            limits |= {
                "accelerator": "cuda",
                "gpus": list(self.shares.nim_gpus),
                "gpu_memory_fraction": self.shares.nim_fraction,
            }
        return limits

    def customizer_settings(self) -> dict[str, Any]:
        """Limits of the Customizer, and its share of the GPUs: jobs that run at the same time divide it."""
        limits = self.settings.customizer.model_dump()
        if self.shares is not None:
            limits |= {
                "accelerator": "cuda",
                "gpus": list(self.shares.customizer_gpus),
                "gpu_memory_fraction": self.shares.customizer_fraction / self.settings.customizer.max_concurrent_jobs,
            }
        return limits

    @property
    def port_offsets(self) -> dict[str, int]:
        """Port of each service, counted from the stack's first."""
        return PORT_OFFSETS

    @property
    def ports(self) -> dict[str, int]:
        """Port of each service."""
        return {name: self.settings.base_port + offset for name, offset in self.port_offsets.items()}

    def url(self, service: str) -> str:
        """Where a service listens."""
        return f"http://127.0.0.1:{self.ports[service]}"

    @property
    def model_path(self) -> str:
        """The base model's folder, absolute, or its Hub id."""
        path = self.settings.base_model.path
        if path is None:
            return str(sample_model.folder())
        folder = self.root / path
        return str(folder) if folder.exists() else path

    @property
    def model_secrets(self) -> tuple[str, ...]:
        """What those who read the base model need: a model from the Hub may be gated, a folder is not."""
        path = self.settings.base_model.path
        return () if path is None or Path(self.model_path).exists() else ("HF_TOKEN",)

    def services(self) -> list[ServiceSpec]:
        """List the services, each after those it needs to start."""
        model = self.settings.base_model
        stores = {"entity_store_url": self.url("entity_store"), "data_store_url": self.url("data_store")}
        return [
            self.embedded("data_store", "Data Store", {}),
            self.embedded("entity_store", "Entity Store", {}),
            self.mlflow(),
            self.embedded("judge", "Judge", {"model_id": JUDGE_MODEL}),
            self.nim(model.id, stores, after=("data_store", "entity_store")),
            self.embedded(
                "customizer",
                "Customizer",
                {
                    "base_models": {model.id: self.model_path},
                    **stores,
                    **self.customizer_settings(),
                    "max_served_rank": self.settings.nim.max_lora_rank,
                },
                after=("data_store", "entity_store"),
                reads_model=True,
            ),
            # It calls NIM in its jobs only, so it need not wait for the slowest of all to start.
            self.embedded(
                "evaluator",
                "Evaluator",
                {
                    **stores,
                    "nim_url": self.url("nim"),
                    "judge_url": self.url("judge"),
                    "judge_model": JUDGE_MODEL,
                    "tokenizers": {model.id: self.model_path},
                    **self.settings.evaluator.model_dump(),
                },
                after=("data_store", "entity_store", "judge"),
                reads_model=True,
            ),
            self.embedded(
                "gateway",
                "Gateway",
                {"routes": {prefix: self.url(service) for service, prefixes in ROUTES.items() for prefix in prefixes}},
                after=tuple(ROUTES),
            ),
        ]

    def nim(self, served: str, adapters: dict[str, Any], *, after: tuple[str, ...]) -> ServiceSpec:
        """Describe NIM: the id by which it serves the base model, and where it finds adapters."""
        return self.embedded(
            "nim",
            "NIM",
            {"base_model": served, "model_path": self.model_path, **adapters, **self.nim_settings()},
            health_path="/v1/health/ready",
            timeout_s=600 if self.shares is None else GPU_START_TIMEOUT_S,
            after=after,
            reads_model=True,
        )

    def embedded(
        self,
        name: str,
        title: str,
        settings: dict[str, Any],
        *,
        health_path: str = "/health",
        timeout_s: int = 300,
        after: tuple[str, ...] = (),
        reads_model: bool = False,
    ) -> ServiceSpec:
        """Describe a service of `embedded/`. A change of its code is a change of the service."""
        common = {"host": "127.0.0.1", "port": self.ports[name], "data_dir": str(self.folder.data / name)}
        content = fingerprint(Path(self.model_path)) if reads_model else ""
        packages = [self.root / "embedded" / package for package in ("common", name)]
        return ServiceSpec(
            name=name,
            title=title,
            command=[str(self.python), "-m", "embedded.serve", name, str(self.folder.config / f"{name}.json")],
            settings=common | settings,
            health_path=health_path,
            timeout_s=timeout_s,
            after=after,
            inherits=self.model_secrets if reads_model else (),
            code=hashlib.sha256("".join([source_digest(packages), content]).encode()).hexdigest()[:16],
        )

    def mlflow(self) -> ServiceSpec:
        """Describe the real MLflow server."""
        data = self.folder.data / "mlflow"
        command = [
            str(self.python),
            "-m",
            "mlflow",
            "server",
            "--host",
            "127.0.0.1",
            "--port",
            str(self.ports["mlflow"]),
            "--workers",
            "1",
            "--backend-store-uri",
            f"sqlite:///{data / 'mlflow.db'}",
            "--artifacts-destination",
            (data / "artifacts").as_uri(),
            "--serve-artifacts",
        ]
        return ServiceSpec(name="mlflow", title="MLflow", command=command, settings={"data_dir": str(data)})

    def outputs(self) -> StackOutputs:
        """Make what the stack tells the world."""
        model = self.settings.base_model.id
        return StackOutputs(
            target="local",
            nemo_url=self.url("gateway"),
            data_store_url=self.url("data_store"),
            nim_url=self.url("nim"),
            nim_internal_url=self.url("nim"),
            mlflow_url=self.url("mlflow"),
            judge_url=self.url("judge"),
            judge_model=JUDGE_MODEL,
            base_model=model,
            customization_config=f"{model}@{CUSTOMIZER_VERSION[self.accelerator]}",
            log_commands=self.log_commands,
        )

    @property
    def log_commands(self) -> dict[str, list[str]]:
        """Print the end of each service's log."""
        return {name: ["tail", "-n", LOG_LINES, str(self.folder.log(name))] for name in self.port_offsets}


def source_digest(packages: list[Path]) -> str:
    """Return a digest that changes when a Python file of `packages` does."""
    digest = hashlib.sha256()
    for package in packages:
        for source in sorted(package.rglob("*.py")):
            digest.update(f"{source.relative_to(package)}\0".encode() + source.read_bytes())
    return digest.hexdigest()


def fingerprint(folder: Path) -> str:
    """Return what changes when a file of a model's folder does, told by size and time; empty for a Hub id."""
    if not folder.is_dir():
        return ""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return "\n".join(f"{path.relative_to(folder)} {path.stat().st_size} {path.stat().st_mtime_ns}" for path in files)
