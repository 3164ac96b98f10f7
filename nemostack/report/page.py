"""From a template to one HTML page: theme inside, nothing fetched from elsewhere, no script.

Templates extend `page.html.j2`. They are rendered in a sandbox with escaping on, and a name that is not defined is an
error: texts of models and data sets must neither become markup nor be evaluated.
"""

from collections.abc import Callable, Mapping
from typing import Any, Final

from jinja2 import ChoiceLoader, PackageLoader, StrictUndefined
from jinja2.sandbox import ImmutableSandboxedEnvironment

_PACKAGE: Final = "nemostack.report"


def render(
    package: str, template: str, content: Mapping[str, Any], *, filters: Mapping[str, Callable[..., Any]] | None = None
) -> str:
    """Render `template` of the Python package `package` with `content`, and with `filters` beside Jinja's own."""
    loader = ChoiceLoader([PackageLoader(package, ""), PackageLoader(_PACKAGE, "")])
    environment = ImmutableSandboxedEnvironment(
        loader=loader, autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters.update(filters or {})
    return environment.get_template(template).render(**content)
