"""From a template to one HTML page: theme inside, nothing fetched from elsewhere, no script but one of ours.

Templates extend `page.html.j2`. They are rendered in a sandbox with escaping on, and a name that is not defined is an
error: texts of models and data sets must neither become markup nor be evaluated. A page may have one script, whose hash
its policy names, so that no other one would run.
"""

import base64
import hashlib
from collections.abc import Callable, Mapping
from importlib import resources
from types import CodeType
from typing import Any, Final

from jinja2 import BytecodeCache, ChoiceLoader, PackageLoader, StrictUndefined
from jinja2.bccache import Bucket
from jinja2.sandbox import ImmutableSandboxedEnvironment
from markupsafe import Markup

_PACKAGE: Final = "nemostack.report"


class _Compiled(BytecodeCache):
    """Templates that this process has compiled: a run writes its report after each stage, and compiling takes longest.

    Only for environments that differ in nothing but their filters.
    """

    def __init__(self) -> None:
        self._code: dict[tuple[str, str], CodeType] = {}

    def load_bytecode(self, bucket: Bucket) -> None:
        bucket.code = self._code.get((bucket.key, bucket.checksum))

    def dump_bytecode(self, bucket: Bucket) -> None:
        if bucket.code is not None:
            self._code[bucket.key, bucket.checksum] = bucket.code


_COMPILED: Final = _Compiled()


def render(
    package: str,
    template: str,
    content: Mapping[str, Any],
    *,
    filters: Mapping[str, Callable[..., Any]] | None = None,
    script: str = "",
) -> str:
    """Render `template` of the Python package `package` with `content`, and with `filters` beside Jinja's own.

    `script` is the name of a JavaScript file of that package.
    """
    loader = ChoiceLoader([PackageLoader(package, ""), PackageLoader(_PACKAGE, "")])
    environment = ImmutableSandboxedEnvironment(
        loader=loader,
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        bytecode_cache=_COMPILED,
    )
    environment.filters.update(filters or {})
    text = resources.files(package).joinpath(script).read_text(encoding="utf-8") if script else ""
    digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
    own = {"script": Markup(text), "script_hash": Markup(f"sha256-{digest}")}  # noqa: S704 - ours, and no one else's
    return environment.get_template(template).render(**content, **own)
