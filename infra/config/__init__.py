"""The settings of a stack: typed, complete, refused with one clear line where they are wrong.

Reading and checking them needs no Pulumi; only `infra.config.secrets` does.
"""

from infra.config.load import load
from infra.config.local import LocalSettings, LocalStackConfig
from infra.config.rules.warnings import warnings
from infra.config.section import PROJECT
from infra.config.stack import SECRET_KEYS, TARGETS, ClusterStackConfig
from nemostack.errors import SettingsError

__all__ = [
    "PROJECT",
    "SECRET_KEYS",
    "TARGETS",
    "ClusterStackConfig",
    "LocalSettings",
    "LocalStackConfig",
    "SettingsError",
    "load",
    "warnings",
]
