"""Provision a NeMo stack: read its settings, make what its target needs, export where things are."""

import os

import pulumi
from pulumi.runtime.config import CONFIG

from nemostack.clone import ROOT
from nemostack.imports import without_collector

with without_collector():
    from infra import config
    from infra.config.secrets import secrets as secret_settings

if "NEMOSTACK_PULUMI_DEBUG" not in os.environ:
    # The SDK sends five debug messages for each resource to the engine and waits for each, whether or not the engine
    # shows them: with 700 resources 3,400 round trips, and a second of the engine's processor time.
    pulumi.log.debug = lambda *_, **__: None

try:
    settings = config.load(CONFIG.get())
    secrets = secret_settings()
except config.SettingsError as error:
    raise pulumi.RunError(f"Pulumi.{pulumi.get_stack()}.yaml:\n{error}") from None

# Each target's packages are imported where they are needed: the SDK of Kubernetes alone takes a second.
if isinstance(settings, config.LocalStackConfig):
    with without_collector():
        from infra.local.stack import LocalStack, LocalStackArgs

    arguments = LocalStackArgs(root=ROOT, stack=pulumi.get_stack(), settings=settings.local, product=settings.product)
    exports = LocalStack(pulumi.get_stack(), arguments).exports
else:
    with without_collector():
        from infra.cluster.stack import ClusterStack, ClusterStackArgs

    for warning in config.warnings(settings):
        pulumi.log.warn(f"Pulumi.{pulumi.get_stack()}.yaml: {warning}")
    exports = ClusterStack(pulumi.get_stack(), ClusterStackArgs(root=ROOT, settings=settings, secrets=secrets)).exports

for key, value in exports.items():
    pulumi.export(key, value)
