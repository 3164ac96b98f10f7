"""The product lines, and what works on which.

A part of the harness that speaks to the microservices alone says so at once, in place of a 404 in the middle of a run.
"""

from nemostack.errors import BadInput
from nemostack.outputs import StackOutputs

TITLES = {"microservices": "NeMo microservices", "platform": "NeMo Platform"}


def require_microservices(outputs: StackOutputs, what: str) -> None:
    """Raise BadInput on a stack of another product."""
    if outputs.product != "microservices":
        raise BadInput(
            f"{what} needs the NeMo microservices, and this stack runs the {TITLES[outputs.product]}, which has no "
            "such thing (docs/platform.md): use a stack with product: microservices"
        )
