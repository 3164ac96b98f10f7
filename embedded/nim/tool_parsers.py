"""The parser with which vLLM finds calls of tools in a model's text, chosen by the chat template that writes them.

NIM starts with automatic tool choice; without a parser vLLM answers 400 to every request with `tools`. The marks are
those of the parsers' own families in vLLM. A template that knows no tools gets Hermes' parser: its model is never told
of tools unless the request forces a call, whose JSON vLLM writes and reads without the parser.
"""

import json
from pathlib import Path

DEFAULT_PARSER = "hermes"
# Mark in the template -> name in vLLM; the first that is there wins.
MARKS = {
    "<|python_tag|>": "llama3_json",
    "<|python_start|>": "llama4_pythonic",
    "[TOOL_CALLS]": "mistral",
    "<function=": "qwen3_coder",
    "<tool_call>": "hermes",
    "<|tool_call|>": "phi4_mini_json",
}


def choose_tool_parser(model_path: str) -> str:
    """Return vLLM's name of the parser for the model in folder `model_path`; DEFAULT_PARSER for a Hub id."""
    template = _read_template(Path(model_path))
    return next((parser for mark, parser in MARKS.items() if mark in template), DEFAULT_PARSER)


def _read_template(folder: Path) -> str:
    try:
        return (folder / "chat_template.jinja").read_text(encoding="utf-8")
    except OSError:
        pass
    try:
        template = json.loads((folder / "tokenizer_config.json").read_text(encoding="utf-8")).get("chat_template")
    except (OSError, ValueError, AttributeError):
        return ""
    return template if isinstance(template, str) else json.dumps(template or "")
