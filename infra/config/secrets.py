"""The secret settings of a stack, which stay Pulumi secrets and never pass through the model.

Refuses a secret in plain text: the stack file is committed.
"""

import pulumi
from pulumi.runtime.config import is_config_secret

from infra.config.section import PROJECT
from infra.config.stack import SECRET_KEYS
from nemostack.errors import SettingsError


def secrets() -> dict[str, pulumi.Output[str]]:
    """Return those that have a value. Raises SettingsError."""
    values = {}
    for key in SECRET_KEYS:
        if (value := pulumi.Config(PROJECT).get_secret(key)) is None:
            continue
        if not is_config_secret(f"{PROJECT}:{key}"):
            raise SettingsError(f"{PROJECT}:{key}: is stored in plain text: pulumi config set --secret {PROJECT}:{key}")
        values[key] = value
    return values
