"""Lines for a user from a pydantic ValidationError: path and message of each problem, never the value.

A value may be a secret, and pydantic's own text shows it.
"""

from collections.abc import Mapping
from typing import Any

from pydantic import ValidationError


def validation_lines(error: ValidationError, prefix: str = "") -> list[str]:
    """Return one line per problem, `path.to.field: message`, with `prefix` as the first part of each path.

    A problem of the whole document has the prefix alone as its path, and none without a prefix.
    """
    lines = []
    for problem in error.errors(include_url=False, include_context=False, include_input=False):
        path = ".".join(filter(None, [prefix, *map(str, problem["loc"])]))
        message = validation_message(problem)
        lines.append(f"{path}: {message}" if path else message)
    return lines


def validation_message(problem: Mapping[str, Any]) -> str:
    """Return the message of one of pydantic's errors as the continuation of a sentence."""
    message = str(problem["msg"]).removeprefix("Value error, ")
    return message if message[1:2].isupper() else message[:1].lower() + message[1:]
