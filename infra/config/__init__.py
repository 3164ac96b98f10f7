"""The settings of a stack: typed, complete, refused with one clear line where they are wrong."""

from infra.config.load import load
from infra.config.local import LocalSettings, LocalStackConfig
from infra.config.rules_warnings import warnings
from infra.config.secrets import secrets
from infra.config.section import PROJECT, ConfigError
from infra.config.stack import SECRET_KEYS, TARGETS, ClusterStackConfig

__all__ = [
    "PROJECT",
    "SECRET_KEYS",
    "TARGETS",
    "ClusterStackConfig",
    "ConfigError",
    "LocalSettings",
    "LocalStackConfig",
    "load",
    "secrets",
    "warnings",
]
