"""`list` calls: filter, search, sort and page over plain dicts, as the SDK asks for them.

Filters arrive as query keys in brackets (`filter[base_model][name]=m`), not as JSON. A page past the end is an
empty one, never an error: the SDK iterates until `data` is empty. Refuses unknown sort keys and bad page numbers.
"""

import re
from collections.abc import Iterable
from typing import Any

from starlette.datastructures import QueryParams

from embedded.common.errors import Unprocessable

MAX_PAGE_SIZE = 1000
_KEY = re.compile(r"(filter|search)((?:\[[^\[\]]+\])+)")


def _number(query: QueryParams, key: str, default: int, at_most: int | None = None) -> int:
    text = query.get(key, str(default))
    if not text.isdecimal() or int(text) < 1 or (at_most is not None and int(text) > at_most):
        raise Unprocessable(f"{key}={text!r}: expected a whole number from 1{f' to {at_most}' if at_most else ''}")
    return int(text)


def _lookup(item: Any, path: list[str]) -> Any:
    for key in path:
        item = item.get(key) if isinstance(item, dict) else None
    return item


def _as_text(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _matches(item: dict[str, Any], kind: str, path: list[str], wanted: str) -> bool:
    if path[-1] in {"gte", "start", "lte", "end", "gt", "lt"}:
        have = str(_lookup(item, path[:-1]) or "")
        return have >= wanted if path[-1] in {"gte", "gt", "start"} else have <= wanted
    have = _lookup(item, path)
    if kind == "search":
        return wanted.lower() in _as_text(have or "").lower()
    if wanted == "true" and have is not True:  # `filter[peft]=true` asks whether there is one
        return have is not None
    return _as_text(have) in wanted.split(",") if have is not None else False


def page(items: Iterable[dict[str, Any]], query: QueryParams, default_sort: str = "created_at") -> dict[str, Any]:
    """The answer to a `list` call over `items`: `{object, data, pagination, sort, filter}`."""
    number, size = _number(query, "page", 1), _number(query, "page_size", 10, MAX_PAGE_SIZE)
    sort = query.get("sort", default_sort)
    conditions = [(m[1], re.findall(r"\[([^\[\]]+)\]", m[2]), v) for k, v in query.items() if (m := _KEY.fullmatch(k))]
    found = [item for item in items if all(_matches(item, *condition) for condition in conditions)]
    key = sort.removeprefix("-")
    if found and not any(key in item for item in found):
        raise Unprocessable(f"sort={sort!r}: no such field")
    found.sort(key=lambda item: _as_text(item.get(key) or ""), reverse=sort.startswith("-"))
    rows = found[(number - 1) * size : number * size]
    return {
        "object": "list",
        "data": rows,
        "pagination": {
            "page": number,
            "page_size": size,
            "current_page_size": len(rows),
            "total_pages": -(-len(found) // size),
            "total_results": len(found),
        },
        "sort": sort,
        "filter": {".".join(path): value for _, path, value in conditions} or None,
    }
