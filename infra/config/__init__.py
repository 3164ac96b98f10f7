"""The settings of a stack: typed, complete, refused with one clear line where they are wrong."""

from infra.config.load import load
from infra.config.local import LocalSettings, LocalStackConfig
from infra.config.rules.warnings import warnings
from infra.config.secrets import secrets
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
    "secrets",
    "warnings",
]
