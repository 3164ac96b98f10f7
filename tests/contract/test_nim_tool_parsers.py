"""The parser for calls of tools follows the chat template; the names are vLLM's own."""

import json
from pathlib import Path

import pytest

from embedded.nim.arguments import vllm_arguments
from embedded.nim.settings import Settings
from embedded.nim.tool_parsers import choose_tool_parser
from tests.base_model import WEIGHTS


@pytest.mark.parametrize(
    ("template", "parser"),
    [
        ("{{ '<tool_call>' + call | tojson + '</tool_call>' }}", "hermes"),
        ("{{ '<|python_tag|>' }}", "llama3_json"),
        ("[TOOL_CALLS]", "mistral"),
        ("<tool_call>\n<function=name>", "qwen3_coder"),
        ("{{ messages }}", "hermes"),
    ],
)
@pytest.mark.parametrize("file", ["chat_template.jinja", "tokenizer_config.json"])
def test_the_parser_follows_the_chat_template(tmp_path: Path, file: str, template: str, parser: str) -> None:
    content = template if file.endswith("jinja") else json.dumps({"chat_template": template})
    (tmp_path / file).write_text(content, encoding="utf-8")
    assert choose_tool_parser(str(tmp_path)) == parser


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of torch, when vLLM is imported
def test_every_parser_that_may_be_chosen_is_one_of_vllm() -> None:
    from vllm.tool_parsers import ToolParserManager

    from embedded.nim import tool_parsers

    known = set(ToolParserManager.list_registered())
    assert {*tool_parsers.MARKS.values(), tool_parsers.DEFAULT_PARSER} <= known


@pytest.mark.parametrize(("chosen", "parser"), [(None, "hermes"), ("xlam", "xlam")])
def test_the_server_starts_with_both_flags(tmp_path: Path, chosen: str | None, parser: str) -> None:
    settings = Settings(
        port=1,
        data_dir=tmp_path,
        base_model="a/b",
        model_path=str(WEIGHTS),
        entity_store_url="http://e",
        data_store_url="http://d",
        tool_call_parser=chosen,
    )
    arguments = vllm_arguments(settings)
    assert "--enable-auto-tool-choice" in arguments
    assert arguments[arguments.index("--tool-call-parser") + 1] == parser
