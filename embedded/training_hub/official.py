"""Which backend trains: NVIDIA's own where it is installed and there is a GPU, ours everywhere else.

Decided when the platform starts, by the entry points of the other packages in its environment. NVIDIA's backends refuse
a machine without a GPU, and do so only when a job comes.
"""

from collections.abc import Callable, Iterable
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import Any, Final

OWN: Final = "embedded.training_hub"
_DEVICES: Final = Path("/dev")


def has_gpu() -> bool:
    """Whether the machine has an NVIDIA GPU with its driver loaded."""
    return any(_DEVICES.glob("nvidia[0-9]*"))


def choose(group: str, name: str, own: Any, *, gpu: Callable[[], bool] = has_gpu) -> Any:
    """Return what another package registers as `name` in `group` if there is a GPU, else `own`."""
    others = official(entry_points(group=group, name=name))
    return others[0].load() if others and gpu() else own


def official(found: Iterable[EntryPoint]) -> list[EntryPoint]:
    """Leave out our own."""
    return [entry for entry in found if not entry.value.startswith(f"{OWN}.")]
