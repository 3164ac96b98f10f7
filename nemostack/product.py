"""The product lines, and what works on which.

A part of the harness that speaks to the microservices alone says so at once, in place of a 404 in the middle of a run.
"""

from nemostack.errors import BadInput
from nemostack.outputs import StackOutputs

TITLES = {"microservices": "NeMo microservices", "platform": "NeMo Platform"}


def require_microservices(outputs: StackOutputs, command: str) -> None:
    """Raise BadInput on a stack of another product."""
    if outputs.product != "microservices":
        raise BadInput(
            f"{command} speaks to the NeMo microservices, and this stack runs the {TITLES[outputs.product]}: use its "
            "own command `nemo` or Studio there (docs/platform.md), or a stack with product: microservices. "
            "`nemostack doctor` and `nemostack load` work on both"
        )
