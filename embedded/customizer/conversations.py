"""Conversations of training rows: OpenAI-shaped messages, with calls of tools, checked and brought into one form.

Calls become what chat templates expect, `{"type": "function", "function": {"name", "arguments": {...}}}` with arguments
as an object, whether they came as an object or as text, or as the older `function_call`. Refuses roles that do not
exist, contents that are no text, and calls without a name.
"""

# ruff: noqa: TRY004 - whatever is wrong with a message is a ValueError

import json
from dataclasses import dataclass
from typing import Any

_ROLES = ("system", "user", "assistant", "tool")
_CARRIED_KEYS = ("tool_call_id", "name")


@dataclass(frozen=True)
class Turn:
    """Part of a conversation; the model learns to write the assistant's turns.

    `calls` is a JSON list of the tool calls, `about` a JSON object of what a template may want besides; "" for neither.
    """

    role: str
    content: str
    calls: str = ""
    about: str = ""

    @property
    def is_learnable(self) -> bool:
        """Whether the assistant says something here; an empty turn would teach the model to be silent."""
        return self.role == "assistant" and bool(self.content.strip() or self.calls)

    @property
    def called_tools(self) -> list[str]:
        """Names of the tools that are called."""
        return [call["function"]["name"] for call in json.loads(self.calls or "[]")]

    def message(self) -> dict[str, Any]:
        """Return the turn as chat templates take it."""
        calls = {"tool_calls": json.loads(self.calls)} if self.calls else {}
        return {"role": self.role, "content": self.content, **calls, **json.loads(self.about or "{}")}


def json_kind(value: Any) -> str:
    """Name the JSON type of `value` for a message."""
    names = {dict: "an object", list: "a list", str: "text", bool: "true/false", type(None): "null"}
    return names.get(type(value), "a number")


def parse_messages(messages: Any) -> tuple[Turn, ...]:
    """Read the value of "messages". ValueError with the number of the message and the reason."""
    if not isinstance(messages, list) or not messages:
        raise ValueError('"messages" must be a list with at least one message')
    turns = tuple(_parse_message(message, f"message {number}") for number, message in enumerate(messages, 1))
    if not any(turn.is_learnable for turn in turns):
        empty = any(turn.role == "assistant" for turn in turns)
        raise ValueError(f"{'only empty assistant messages' if empty else 'no assistant message'}: nothing to learn")
    return turns


def parse_tools(tools: Any) -> str:
    """Read the value of "tools": the list as JSON, "" for none. ValueError unless each tool has a name."""
    if tools is None or tools == []:
        return ""
    if not isinstance(tools, list):
        raise ValueError(f'"tools" is {json_kind(tools)}, expected a list')
    for number, tool in enumerate(tools, 1):
        function = tool.get("function", tool) if isinstance(tool, dict) else None
        if not isinstance(function, dict) or not isinstance(function.get("name"), str):
            raise ValueError(f'tool {number}: expected {{"type": "function", "function": {{"name": ...}}}}')
    return json.dumps(tools, ensure_ascii=False)


def tool_names(tools: str) -> list[str]:
    """Names of the tools in what `parse_tools` returned."""
    return [tool.get("function", tool)["name"] for tool in json.loads(tools or "[]")]


def _parse_message(message: Any, where: str) -> Turn:
    if not isinstance(message, dict):
        raise ValueError(f"{where} is {json_kind(message)}, expected an object")
    role, content = message.get("role"), message.get("content")
    if role == "function":  # the name of `tool` in the older API
        role = "tool"
    if role not in _ROLES:
        raise ValueError(f"{where}: role {role!r}, expected one of {', '.join(_ROLES)}")
    calls = _parse_calls(message, where) if role == "assistant" else []
    if content is None and calls:
        content = ""
    if not isinstance(content, str):
        raise ValueError(f'{where}: "content" is {json_kind(content)}, expected text')
    about = {key: message[key] for key in _CARRIED_KEYS if isinstance(message.get(key), str)}
    return Turn(role, content, _as_json(calls), _as_json(about))


def _as_json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False) if value else ""


def _parse_calls(message: dict[str, Any], where: str) -> list[dict[str, Any]]:
    calls = message.get("tool_calls")
    if calls is None:
        calls = [{"function": message["function_call"]}] if message.get("function_call") else []
    if not isinstance(calls, list):
        raise ValueError(f'{where}: "tool_calls" is {json_kind(calls)}, expected a list')
    return [_parse_call(call, f"{where}, tool call {number}") for number, call in enumerate(calls, 1)]


def _parse_call(call: Any, where: str) -> dict[str, Any]:
    function = call.get("function") if isinstance(call, dict) else None
    if not isinstance(function, dict) or not isinstance(function.get("name"), str) or not function["name"]:
        raise ValueError(f'{where}: expected {{"function": {{"name": ..., "arguments": ...}}}}')
    arguments = function.get("arguments")
    if isinstance(arguments, str) and arguments.strip():
        try:
            arguments = json.loads(arguments)
        except ValueError as error:
            raise ValueError(f"{where}: arguments of {function['name']!r} are no JSON: {error}") from error
    arguments = arguments or {}
    if not isinstance(arguments, dict):
        raise ValueError(f"{where}: arguments of {function['name']!r} are {json_kind(arguments)}, expected an object")
    identity = {"id": call["id"]} if isinstance(call.get("id"), str) else {}
    return {**identity, "type": "function", "function": {"name": function["name"], "arguments": arguments}}
