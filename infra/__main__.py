"""Provision a NeMo stack: read its settings, make what its target needs, export where things are."""

from pathlib import Path

import pulumi
from pulumi.runtime.config import CONFIG

from infra import config, local
from infra.cluster_stack import ClusterStack, ClusterStackArgs

ROOT = Path(__file__).resolve().parent.parent

try:
    settings = config.load(CONFIG.get())
    secrets = config.secrets()
except config.ConfigError as error:
    raise pulumi.RunError(f"Pulumi.{pulumi.get_stack()}.yaml:\n{error}") from None

if isinstance(settings, config.LocalStackConfig):
    stack: local.LocalStack | ClusterStack = local.LocalStack(
        pulumi.get_stack(), local.LocalStackArgs(root=ROOT, stack=pulumi.get_stack(), settings=settings.local)
    )
else:
    stack = ClusterStack(pulumi.get_stack(), ClusterStackArgs(root=ROOT, settings=settings, secrets=secrets))

for key, value in stack.exports.items():
    pulumi.export(key, value)
