"""`list` calls: filter, search, sort and page over plain dicts, as the SDK asks for them.

Filters arrive as query keys in brackets, not as JSON: `filter[base_model][name]=m`,
`search[created_at][start]=2026-01-01`.
- filter: equality; `true` and `false` on anything that is no boolean ask whether it is there (`filter[peft]=true`)
- search: part of the text, in either case
- several values, by comma or by repeating the key: any of them; several keys: all of them
A page past the end is an empty one, never an error: the SDK iterates until `data` is empty.
Refuses unknown fields, malformed keys, dates that are none, and bad page numbers.
"""

import json
import re
from collections.abc import Collection, Iterable
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

from starlette.datastructures import QueryParams

from embedded.common.errors import Unprocessable

MAX_PAGE_SIZE = 1000
_KEY = re.compile(r"(filter|search)((?:\[[^\[\]]+\])+)")
_DATE = re.compile(r"\d{4}-\d{2}-\d{2}")
_DATE_FIELDS = {"created_at", "updated_at"}


class _Condition(NamedTuple):
    kind: str
    path: tuple[str, ...]
    accepted: tuple[str, ...]


def _number(query: QueryParams, key: str, default: int, at_most: int | None = None) -> int:
    text = query.get(key, str(default))
    if not re.fullmatch(r"[0-9]{1,9}", text) or int(text) < 1 or (at_most is not None and int(text) > at_most):
        raise Unprocessable(f"{key}={text!r}: expected a whole number from 1{f' to {at_most}' if at_most else ''}")
    return int(text)


def _conditions(query: QueryParams, fields: Collection[str] | None) -> list[_Condition]:
    accepted: dict[tuple[str, tuple[str, ...]], list[str]] = {}
    for key, value in query.multi_items():
        if not key.startswith(("filter", "search")):
            continue
        match = _KEY.fullmatch(key)
        if match is None:
            raise Unprocessable(f"query key {key!r}: expected {key[:6]}[field]=value or {key[:6]}[field][key]=value")
        path = tuple(re.findall(r"\[([^\[\]]+)\]", match[2]))
        if fields is not None and path[0] not in fields:
            raise Unprocessable(f"{key}: no such field; there are {', '.join(sorted(fields))}")
        accepted.setdefault((match[1], path), []).extend(value.split(","))
    return [_Condition(kind, path, tuple(values)) for (kind, path), values in accepted.items()]


def _lookup(item: Any, path: Iterable[str]) -> list[Any]:
    """Find what stands at `path`; two values for the `name` of a `namespace/name` text: all of it, and the name."""
    matches = [item]
    for key in path:
        value = matches[0]
        if isinstance(value, dict) and value.get(key) is not None:
            matches = [value[key]]
        elif isinstance(value, str) and key == "name":  # `filter[base_model][name]` where base_model is "ns/name"
            matches = [value, value.rpartition("/")[2]]
        else:
            return []
    return matches


def _as_text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _moment(text: str) -> datetime:
    """ISO 8601 as naive UTC; 422 when it is none."""
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise Unprocessable(f"{text!r} is no date: expected ISO 8601, e.g. 2026-01-05 or 2026-01-05T09:20:00") from None
    return moment.astimezone(UTC).replace(tzinfo=None) if moment.tzinfo else moment


def _in_time(have: datetime, operator: str, text: str) -> bool:
    accepted = _moment(text)
    # A bare date is the whole day: `end=2026-01-05` includes what happened at noon.
    last = accepted + timedelta(days=1, microseconds=-1) if _DATE.fullmatch(text) else accepted
    match operator:
        case "gte" | "start":
            return have >= accepted
        case "lte" | "end":
            return have <= last
        case "gt":
            return have > last
        case "lt":
            return have < accepted
        case "eq":
            return accepted <= have <= last
        case "neq":
            return not accepted <= have <= last
        case _:
            raise Unprocessable(
                f"[{operator}]: no comparison of dates; there are gte, lte, gt, lt, eq, neq, start, end"
            )


def _matches(item: dict[str, Any], condition: _Condition) -> bool:
    if condition.path[0] in _DATE_FIELDS and len(condition.path) == 2:
        field, operator = condition.path
        have = item.get(field)
        return have is not None and any(_in_time(_moment(have), operator, accepted) for accepted in condition.accepted)
    matches = _lookup(item, condition.path)
    texts = [_as_text(value) for value in matches]
    if condition.kind == "search":
        return any(accepted.lower() in text.lower() for accepted in condition.accepted for text in texts)
    for accepted in condition.accepted:
        if accepted in {"true", "false"} and not any(isinstance(value, bool) for value in matches):
            if bool(matches) is (accepted == "true"):
                return True
        elif accepted in texts:
            return True
    return False


def _order(value: Any) -> tuple[int, float, str]:
    """Numbers by size, then text, then what is absent."""
    if isinstance(value, int | float):
        return (0, value, "")
    return (2, 0, "") if value is None else (1, 0, _as_text(value))


def page(
    items: Iterable[dict[str, Any]],
    query: QueryParams,
    default_sort: str = "created_at",
    *,
    sort_fields: Collection[str] | None = None,
    filter_fields: Collection[str] | None = None,
) -> dict[str, Any]:
    """Answer a `list` call over `items`: `{object, data, pagination, sort, filter}`.

    `sort_fields` and `filter_fields` name what may be asked for; without them any field of the items may.
    """
    number, size = _number(query, "page", 1), _number(query, "page_size", 10, MAX_PAGE_SIZE)
    sort = query.get("sort", default_sort)
    conditions = _conditions(query, filter_fields)
    matches = [item for item in items if all(_matches(item, condition) for condition in conditions)]
    key = sort.removeprefix("-")
    known = sort_fields if sort_fields is not None else {name for item in matches for name in item} or {key}
    if key not in known:
        raise Unprocessable(f"sort={sort!r}: no such field; there are {', '.join(sorted(known))}")
    matches.sort(key=lambda item: _order(item.get(key)), reverse=sort.startswith("-"))
    rows = matches[(number - 1) * size : number * size]
    return {
        "object": "list",
        "data": rows,
        "pagination": {
            "page": number,
            "page_size": size,
            "current_page_size": len(rows),
            "total_pages": -(-len(matches) // size),
            "total_results": len(matches),
        },
        "sort": sort,
        "filter": {".".join(c.path): ",".join(c.accepted) for c in conditions if c.kind == "filter"} or None,
    }
