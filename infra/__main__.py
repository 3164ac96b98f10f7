"""Provision a NeMo stack: read its settings, make what its target needs, export where things are."""

import pulumi
from pulumi.runtime.config import CONFIG

from infra import config
from infra.config.secrets import secrets as secret_settings
from infra.local.stack import LocalStack, LocalStackArgs
from nemostack.clone import ROOT

try:
    settings = config.load(CONFIG.get())
    secrets = secret_settings()
except config.SettingsError as error:
    raise pulumi.RunError(f"Pulumi.{pulumi.get_stack()}.yaml:\n{error}") from None

if isinstance(settings, config.LocalStackConfig):
    exports = LocalStack(
        pulumi.get_stack(), LocalStackArgs(root=ROOT, stack=pulumi.get_stack(), settings=settings.local)
    ).exports
else:
    # here: the SDK of Kubernetes takes seconds to load, and a local stack has no use for it
    from infra.cluster.stack import ClusterStack, ClusterStackArgs

    for warning in config.warnings(settings):
        pulumi.log.warn(f"Pulumi.{pulumi.get_stack()}.yaml: {warning}")
    exports = ClusterStack(pulumi.get_stack(), ClusterStackArgs(root=ROOT, settings=settings, secrets=secrets)).exports

for key, value in exports.items():
    pulumi.export(key, value)
