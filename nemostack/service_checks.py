"""Looks at every service of a stack and says what is wrong: symptom, evidence, what to do.

All checks are made whatever the earlier ones found, so one look shows every problem. With `write` the Data Store has
to store, return and delete a small file, and NIM has to answer a chat. Refuses nothing and raises for no service: what
a service does is a finding. `bad` findings keep a run from working; `warn` ones do not.
"""
# ruff: noqa: PLW0108 - the lambdas put off making a client, and with it the import of its library

import importlib.metadata
import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from http import HTTPStatus
from typing import Literal
from urllib.parse import urlsplit

from nemostack.clients import Clients
from nemostack.clients.error_mapping import calling
from nemostack.clients.tls import shared_context
from nemostack.entity_names import gateway_model
from nemostack.errors import ServiceError, Unreachable
from nemostack.models import Model
from nemostack.outputs import StackOutputs

Level = Literal["ok", "warn", "bad"]
LIBRARIES = ("nemo-microservices", "huggingface-hub", "openai", "mlflow")
Tell = Callable[[str], None]
READY_LOOKS, READY_PAUSE_S = 5, 2.0
STACK = "--stack NAME"
"""In a remedy: whoever knows the stack puts its name there (`for_stack`)."""


class Finding(Model):
    """One look at one thing."""

    service: str
    check: str
    level: Level
    evidence: str
    fix: str = ""

    @property
    def line(self) -> str:
        """All of it in a line."""
        return f"{self.service}: {self.check}: {self.evidence}{f' -> {self.fix}' if self.fix else ''}"


def for_stack(findings: list[Finding], stack: str) -> list[Finding]:
    """Name the stack in what the findings say to do."""
    return [one.model_copy(update={"fix": one.fix.replace(STACK, f"--stack {stack}")}) for one in findings]


@dataclass(frozen=True)
class _Check:
    service: str
    name: str
    look: Callable[[], str]
    fix: str
    level: Level = "bad"
    away: str = ""
    """What to do where nobody answers, if that is something else."""

    def remedy(self, error: ServiceError) -> str:
        """What to do about an error."""
        if error.status == HTTPStatus.INSUFFICIENT_STORAGE:
            return error.hint
        return self.away if self.away and isinstance(error, Unreachable) else self.fix


@dataclass(frozen=True, kw_only=True)
class Scope:
    """The part of a stack that matters to a run, and whether the checks may write to it."""

    namespace: str = "default"
    """Namespace of the Data Store in which the probe file is stored."""
    model: str | None = None
    """Model id that NIM must serve; None: the base model of the stack."""
    customizes: bool = True
    """Whether the Customizer is needed."""
    judge: bool = True
    """Whether the judge is needed."""
    write: bool = False
    """Store and remove a small file, and ask NIM one question."""


def check(clients: Clients, scope: Scope, tell: Tell | None = None) -> list[Finding]:
    """Return one finding per check, in a fixed order."""
    findings = []
    for item in _checks(clients, scope):
        if tell is not None:
            tell(f"{item.service}: {item.name}")
        try:
            finding = Finding(service=item.service, check=item.name, level="ok", evidence=item.look())
        except ServiceError as error:
            finding = Finding(
                service=item.service, check=item.name, level=item.level, evidence=error.args[0], fix=item.remedy(error)
            )
        findings.append(finding)
    return findings


def library_versions() -> dict[str, str]:
    """Of the official clients, as installed."""
    return {name: importlib.metadata.version(name) for name in LIBRARIES}


def _checks(clients: Clients, scope: Scope) -> Iterator[_Check]:
    outputs = clients.outputs
    log = "see the service's log (`log_commands` of the stack outputs)"
    running = f"{log}, then bring the stack up again"
    if outputs.target == "local":
        running = f"{log}, then bring the stack up again: `nemostack up {STACK}`"
    if outputs.cluster is not None:
        loopback = urlsplit(outputs.nemo_url).hostname in {"127.0.0.1", "localhost"}
        running = "these URLs need a running `nemostack port-forward`; otherwise " if loopback else ""
        running += f"look at the findings about the cluster, then {log}"
    if outputs.product == "platform":
        yield from _platform(clients, scope, running)
    else:
        yield from _microservices(clients, scope, running)
    yield _Check("NIM", "is ready", lambda: _ready(clients), f"if it is still loading, wait; otherwise {running}")
    fix = "check base_model of the stack outputs against the list"
    served = lambda: _served(clients, scope.model or outputs.base_model)  # noqa: E731
    yield _Check("NIM", "serves the model", served, fix, away=running)
    if scope.write:
        yield _Check("NIM", "answers a chat", lambda: _chat(clients), running)
    if scope.judge:
        fix = "fine if only the Evaluator can reach it; otherwise check judge_url, or run with --no-judge"
        yield _Check("Judge", "answers", lambda: _judge(outputs), fix, "warn")
    if outputs.mlflow_url:
        fix = f"results are kept in the run directory; they are not logged while MLflow is away. {running}"
        yield _Check("MLflow", "answers", lambda: _get(outputs.mlflow_url, "/health", "MLflow"), fix, "warn")
        yield _Check("MLflow", "version", lambda: _get(outputs.mlflow_url, "/version", "MLflow"), fix, "warn")
    if scope.write:
        yield _Check("Clients", "versions", lambda: ", ".join(f"{k} {v}" for k, v in library_versions().items()), "")


def _microservices(clients: Clients, scope: Scope, running: str) -> Iterator[_Check]:
    yield _Check("Data Store", "answers", lambda: clients.data_store.ping(), running)
    if scope.write:
        yield _Check("Data Store", "stores and returns a file", lambda: _round_trip(clients, scope.namespace), running)
    yield _Check("Entity Store", "answers", lambda: clients.entity_store.ping(), running)
    if scope.customizes:
        fix = "choose one of these as customization_config of the stack, or enable its target in the Customizer"
        yield _Check("Customizer", "offers the config", lambda: _config(clients), fix)
    yield _Check("Evaluator", "answers", lambda: clients.evaluator.ping(), running)


def _platform(clients: Clients, scope: Scope, running: str) -> Iterator[_Check]:
    """Of NVIDIA's one process. Its gateway is asked besides NIM: each can be broken alone."""
    outputs, service = clients.outputs, "NeMo Platform"
    yield _Check(service, "is ready", lambda: _platform_ready(clients), running)
    if scope.write:
        yield _Check(service, "stores and returns a file", lambda: _fileset_round_trip(clients), running)
        yield _Check(service, "stores a secret and removes it", lambda: _secret_round_trip(clients), running, "warn")
    model = scope.model or outputs.base_model
    fix = f"`nemostack up {STACK} --refresh` registers NIM again; `nemo inference providers get nim` says more"
    yield _Check(
        service, "its gateway serves the model", lambda: _found(model, clients.platform.served()), fix, away=running
    )
    if scope.customizes:
        fix = f"the backends are plugins in .venv-platform: `nemostack up {STACK}` installs them"
        yield _Check(service, "offers training", lambda: _trains(clients), fix, away=running)
        fix = f"`nemostack up {STACK} --refresh` uploads the base model's files; a model of the Hub has none there"
        yield _Check(service, "has the files of the base model", lambda: _config(clients), fix, away=running)
    yield _Check(service, "its evaluator answers", lambda: clients.evaluator.ping(), running)
    if scope.write:
        chat = lambda: _said(clients.gateway.chat(outputs.base_model, "Hello"))  # noqa: E731
        yield _Check(service, "its gateway answers a chat", chat, running)
    if outputs.studio_url:
        fix = "Studio is a page only: nothing else needs it"
        yield _Check("Studio", "answers", lambda: _get(outputs.studio_url, "", "Studio"), fix, "warn")


def _platform_ready(clients: Clients) -> str:
    """Ask a few times: it also says no when its own database was slow to answer."""
    for _ in range(READY_LOOKS - 1):
        try:
            return clients.platform.ready()
        except ServiceError as error:
            if error.status != HTTPStatus.SERVICE_UNAVAILABLE:
                raise
            time.sleep(READY_PAUSE_S)
    return clients.platform.ready()


def _trains(clients: Clients) -> str:
    backends = clients.platform.training_backends()
    if "automodel" not in backends:
        raise ServiceError(f"no training backend automodel; there are: {', '.join(backends) or 'none'}")
    return f"backends {', '.join(backends)}"


def _fileset_round_trip(clients: Clients) -> str:
    platform, name, content = clients.platform, f"nemostack-doctor-{uuid.uuid4().hex[:12]}", uuid.uuid4().hex.encode()
    platform.create_fileset(name, "generic", "of nemostack doctor")
    try:
        platform.upload(name, "probe.txt", content)
        if platform.read(name, "probe.txt") != content:
            raise ServiceError(f"the NeMo Platform returned another file than was stored in the fileset {name}")
    finally:
        platform.delete_fileset(name)
    return f"{len(content)} bytes stored in the fileset {name}, read back, removed"


def _secret_round_trip(clients: Clients) -> str:
    """Keys of judges and tokens of the Hub are kept there; a run without either does not need it."""
    platform, name = clients.platform, f"nemostack-doctor-{uuid.uuid4().hex[:12]}"
    platform.save_secret(name, uuid.uuid4().hex)
    platform.delete_secret(name)
    return f"the secret {name} kept and removed"


def _round_trip(clients: Clients, namespace: str) -> str:
    store, repo = clients.data_store, f"{namespace}/nemostack-doctor-{uuid.uuid4().hex[:12]}"
    content = uuid.uuid4().hex.encode()
    store.ensure_namespace(namespace)
    try:
        store.upload(repo, {"probe.txt": content}, message="nemostack doctor")
        if store.read(repo, "probe.txt") != content:
            raise ServiceError(f"the Data Store returned another file than was stored in {repo}")
    finally:
        store.delete(repo, "dataset")
    return f"{len(content)} bytes stored in {repo}, read back, removed"


def _config(clients: Clients) -> str:
    config, offered = clients.outputs.customization_config, clients.customizer.configs()
    if config not in offered and config not in {name.partition("@")[0] for name in offered}:
        raise ServiceError(f"no config {config!r}; offered: {', '.join(offered) or 'none'}")
    return f"{config} among {len(offered)}"


def _ready(clients: Clients) -> str:
    clients.nim.ready()
    return "ready"


def _served(clients: Clients, model: str) -> str:
    """Look for the model at NIM itself, where it may have another id than in the platform's gateway."""
    served = clients.nim.models()
    if clients.outputs.product == "platform" and model not in served:
        served = [gateway_model(one) for one in served]
    return _found(model, served)


def _found(model: str, served: list[str]) -> str:
    if model not in served:
        raise ServiceError(f"no model {model!r}; served: {', '.join(served) or 'none'}")
    return f"{model} among {len(served)}"


def _chat(clients: Clients) -> str:
    return _said(clients.nim.chat(clients.outputs.base_model, "Hello"))


def _said(answer: str) -> str:
    return f"said {answer[:60]!r}"


def _judge(outputs: StackOutputs) -> str:
    if outputs.cluster is not None and ".svc" in (urlsplit(outputs.judge_url).hostname or ""):
        return f"{outputs.judge_url} is inside the cluster, where the Evaluator reaches it"
    return _get(outputs.judge_url, "/v1/models", "Judge")


def _get(url: str, path: str, service: str) -> str:
    import httpx

    with calling(service, url, f"asking {path}"):
        answer = httpx.get(f"{url}{path}", timeout=10.0, verify=shared_context(httpx), follow_redirects=True)
        answer.raise_for_status()
    return " ".join(answer.text.split())[:60] or f"{answer.status_code}"
