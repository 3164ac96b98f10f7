"""The components of a local stack: one supervisor, one component a service, and what the stack exports."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pulumi

from infra.config import LocalSettings
from infra.config.section import Product
from infra.local.accelerator import Choice, choose, share_out
from infra.local.folders import StackFolder
from infra.local.platform import PlatformPlan
from infra.local.platform_model import PlatformModel
from infra.local.provider import LocalService, LocalSupervisor
from infra.local.services import Plan, ServiceSpec
from nemostack.errors import LocalServiceError
from nemostack.outputs import StackOutputs


@dataclass(frozen=True, kw_only=True)
class LocalStackArgs:
    """What a local stack is made from."""

    root: Path
    stack: str
    settings: LocalSettings
    product: Product = "microservices"

    def plan(self, choice: Choice) -> Plan:
        """Plan the services to run."""
        folder = StackFolder(self.settings.folder(self.root, self.stack).resolve())
        shares = share_out(choice.gpus, self.settings.gpu) if choice.kind == "cuda" else None
        kind = PlatformPlan if self.product == "platform" else Plan
        return kind(root=self.root, folder=folder, settings=self.settings, shares=shares)


class Service(pulumi.ComponentResource):
    """One service of the stack. Child: the process (LocalService)."""

    url: pulumi.Output[str]

    def __init__(
        self,
        spec: ServiceSpec,
        plan: Plan,
        *,
        after: Sequence[pulumi.Resource],
        opts: pulumi.ResourceOptions | None = None,
    ) -> None:
        super().__init__("nemostack:local:Service", spec.name, None, opts)
        url = plan.url(spec.name)
        props = {
            "folder": str(plan.folder.path),
            "name": spec.name,
            "command": spec.command,
            "settings": json.dumps(spec.settings, indent=2, sort_keys=True),  # as text: Pulumi makes all numbers floats
            "environment": plan.environment | spec.environment,
            "inherits": list(spec.inherits),
            "directory": str(plan.root),
            "health_url": url + spec.health_path,
            "timeout_s": spec.timeout_s,
            "code": spec.code,
        }
        self.process = LocalService(spec.name, props, pulumi.ResourceOptions(parent=self, depends_on=after))
        self.url = self.process.health_url.apply(lambda _: url)
        self.register_outputs({"url": self.url})


class LocalStack(pulumi.ComponentResource):
    """Everything the stack needs on this machine. Children: the supervisor and a Service each."""

    outputs: StackOutputs
    exports: dict[str, Any]

    def __init__(self, name: str, args: LocalStackArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("nemostack:local:Stack", name, None, opts)
        try:
            choice = choose(args.settings.accelerator)
            plan = args.plan(choice)
        except LocalServiceError as error:
            raise pulumi.RunError(str(error)) from None
        shares = "" if plan.shares is None else f"; {plan.shares}"
        self.accelerator = f"{choice.kind}: {choice.reason}{shares}"
        pulumi.log.info(f"accelerator {self.accelerator}", self)
        child = pulumi.ResourceOptions(parent=self)
        self.supervisor = LocalSupervisor(
            "supervisor", folder=plan.folder.path, ports=plan.ports, programs=plan.programs, opts=child
        )
        self.services: dict[str, Service] = {}
        for spec in plan.services():
            after = [self.supervisor, *(self.services[needed].process for needed in spec.after)]
            self.services[spec.name] = Service(spec, plan, after=after, opts=child)
        if isinstance(plan, PlatformPlan):
            after = [service.process for service in self.services.values()]
            PlatformModel("model", plan.model_props(), pulumi.ResourceOptions(parent=self, depends_on=after))
        self.outputs = plan.outputs()
        self.exports = self.outputs.model_dump() | {
            "kubeconfig": self.outputs.kubeconfig,
            "accelerator": self.accelerator,
        }
        self.register_outputs({"nemo_url": self.outputs.nemo_url})
