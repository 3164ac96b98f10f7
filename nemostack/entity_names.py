"""Names of model entities, by the NeMo Platform's rules for names.

The platform derives the same name when it finds a model at a provider, so nobody has to look it up. Refuses an id of
which too little or too much is left.
"""

import re

WORKSPACE = "default"
MAX_NAME = 63


def entity_name(model_id: str) -> str:
    """Name of the model entity for a model id. Raises ValueError when nothing is left of the id, or too much."""
    name = re.sub(r"[^a-z0-9]+", "-", model_id.lower()).strip("-")
    if name[:1].isdigit():
        name = f"m-{name}"
    if not 2 <= len(name) <= MAX_NAME:
        raise ValueError(
            f"{model_id!r} makes the entity name {name!r}, and the NeMo Platform takes 2 to {MAX_NAME} characters: "
            "choose another id"
        )
    return name


def gateway_model(model_id: str) -> str:
    """Model id by which the platform's gateway serves a model. Raises ValueError as above."""
    return f"{WORKSPACE}/{entity_name(model_id)}"
