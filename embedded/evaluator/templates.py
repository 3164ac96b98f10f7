"""Jinja templates that come from outside: rendered in a sandbox, with `item` (a row) and `sample` (an output).

Columns of the row and fields of the output are also there under their bare names, as NVIDIA's Live Evaluation notebook
writes them.

Refuses attribute tricks (the sandbox), undefined columns (the error names those present), and the obvious ways to fill
the memory; whoever may submit jobs can still waste processor time with nested loops.
"""

import json
from typing import Any

from jinja2 import StrictUndefined, TemplateError, TemplateSyntaxError, UndefinedError
from jinja2.sandbox import ImmutableSandboxedEnvironment

from embedded.evaluator.errors import DataError

MAX_TEMPLATE = 200_000
MAX_OUTPUT = 4_000_000
# Columns that hold the expected answer, the first present wins.
TRUTH_COLUMNS = ("ideal_response", "completion", "reference", "answer", "ground_truth", "ideal")
# Rendered text under these keys of a request is JSON if it parses: `"messages": "{{ item.messages | tojson }}"`.
_WIDENING_METHODS = {"format", "format_map", "ljust", "rjust", "center", "zfill", "expandtabs"}
_JSON_KEYS = {"messages", "tools", "tool_choice", "response_format", "stop"}


class _Environment(ImmutableSandboxedEnvironment):
    """Refuses also the one-liners that fill the memory: `'x' * 10**9`."""

    intercepted_binops = frozenset({"*", "**", "%"})

    def wrap_str_format(self, value: Any) -> None:
        """Give no sandboxed `str.format`: is_safe_attribute refuses the method altogether."""

    def is_safe_attribute(self, obj: Any, attr: str, value: Any) -> bool:
        if isinstance(obj, str) and attr in _WIDENING_METHODS:
            return False
        return super().is_safe_attribute(obj, attr, value)

    def call_binop(self, context: Any, operator: str, left: Any, right: Any) -> Any:
        sizes = [len(v) for v in (left, right) if hasattr(v, "__len__")]
        numbers = [abs(v) for v in (left, right) if isinstance(v, int | float)]
        if operator == "**" and max(numbers, default=0) > 1000:
            raise TemplateError("power out of bounds")
        if operator == "*" and sizes and max(sizes) * max(numbers, default=1) > MAX_OUTPUT:
            raise TemplateError("repetition out of bounds")
        if operator == "%" and isinstance(left, str):
            raise TemplateError("% on text is not available: use the filter `round`, or +")
        return super().call_binop(context, operator, left, right)


def _expected_answer(item: dict[str, Any]) -> Any:
    for column in TRUTH_COLUMNS:
        if column in item:
            return item[column]
    raise UndefinedError(f"no ground_truth is configured, and the row has none of {', '.join(TRUTH_COLUMNS)}")


_ENVIRONMENT = _Environment(undefined=StrictUndefined, keep_trailing_newline=True)
_ENVIRONMENT.globals["expected_answer"] = _expected_answer
for _name in ("indent", "center", "format", "xmlattr", "wordwrap"):  # take widths, hence sizes, from the template
    _ENVIRONMENT.filters.pop(_name)


def check(template: Any, where: str) -> None:
    """DataError if any text within `template` is no template."""
    if isinstance(template, str):
        if len(template) > MAX_TEMPLATE:
            raise DataError(f"{where}: template of {len(template)} characters; at most {MAX_TEMPLATE}")
        try:
            _ENVIRONMENT.from_string(template)
        except TemplateSyntaxError as error:
            raise DataError(f"{where}: bad template, line {error.lineno}: {error.message}") from error
    elif isinstance(template, dict):
        for key, value in template.items():
            check(value, f"{where}.{key}")
    elif isinstance(template, list):
        for number, value in enumerate(template):
            check(value, f"{where}[{number}]")


def _variables(context: dict[str, Any]) -> dict[str, Any]:
    """Return `context` with the columns of its row and the fields of its sample beside it.

    A field of the sample hides a column, as in NVIDIA's open evaluator; neither hides `item`, `sample` or a global.
    """
    bare = {**(context.get("item") or {}), **(context.get("sample") or {})}
    names = {str(name): value for name, value in bare.items()}
    return {name: value for name, value in names.items() if name not in _ENVIRONMENT.globals} | context


def render(template: str, context: dict[str, Any], where: str) -> str:
    """Text of `template`; DataError names the missing column and those present."""
    pieces, size = [], 0
    try:
        for piece in _ENVIRONMENT.from_string(template).generate(_variables(context)):
            pieces.append(piece)
            size += len(piece)
            if size > MAX_OUTPUT:
                raise DataError(f"{where}: {template[:200]!r} gives more than {MAX_OUTPUT} characters")
    except UndefinedError as error:
        present = "; ".join(
            f"{name} has: {', '.join(map(str, value)) or 'nothing'}"
            for name, value in context.items()
            if isinstance(value, dict)
        )
        raise DataError(
            f"{where}: {error.message} in {template[:200]!r}; {present or 'there is neither item nor sample'}"
        ) from error
    except (
        TemplateError,
        TypeError,
        ValueError,
        ArithmeticError,
        AttributeError,
        LookupError,
        RecursionError,
    ) as error:
        raise DataError(f"{where}: cannot render {template[:200]!r}: {error}") from error
    return "".join(pieces)


def render_tree(template: Any, context: dict[str, Any], where: str) -> Any:
    """`template` with every text within it rendered."""
    if isinstance(template, str):
        return render(template, context, where)
    if isinstance(template, list):
        return [render_tree(value, context, f"{where}[{number}]") for number, value in enumerate(template)]
    if isinstance(template, dict):
        rendered = {}
        for key, value in template.items():
            new = render_tree(value, context, f"{where}.{key}")
            rendered[key] = _as_json(new) if key in _JSON_KEYS and isinstance(new, str) else new
        return rendered
    return template


def _as_json(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return text
