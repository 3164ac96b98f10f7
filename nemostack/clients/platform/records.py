"""Small records of ours on the NeMo Platform: files of JSON in the fileset `nemostack-records`.

Its entity store takes what its own services have declared; files are for everybody.
"""

import json
from typing import TYPE_CHECKING, Any

from nemostack.errors import NotFound

if TYPE_CHECKING:
    from nemostack.clients.platform import Platform

FILESET = "nemostack-records"


class PlatformRecords:
    """Records by namespace and name, which make the path of the file."""

    def __init__(self, platform: "Platform") -> None:
        self._platform = platform

    def record(self, namespace: str, name: str) -> dict[str, Any] | None:
        """Return the fields of a record; None when there is none."""
        try:
            found = json.loads(self._platform.read(FILESET, f"{namespace}/{name}.json"))
        except NotFound:
            return None
        return found["fields"] if isinstance(found, dict) else None

    def save_record(self, namespace: str, name: str, base_model: str, fields: dict[str, Any]) -> None:
        """Keep a record about a model, in the place of one of this name."""
        self._platform.create_fileset(FILESET, "generic", "What nemostack writes down: changes of aliases")
        content = json.dumps({"model": base_model, "fields": fields}, indent=1).encode()
        self._platform.upload(FILESET, f"{namespace}/{name}.json", content)
