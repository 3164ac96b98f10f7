"""Where the repository is, and the plan of a local stack without starting anything."""

from pathlib import Path

from infra.config import LocalSettings
from infra.local.folders import StackFolder
from infra.local.services import Plan
from nemostack.clone import ROOT


def plan(folder: Path, **settings: object) -> Plan:
    """Make a plan whose stack lives in `folder`."""
    return Plan(root=ROOT, folder=StackFolder(folder), settings=LocalSettings.model_validate(settings))
