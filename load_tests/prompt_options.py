"""The options of a load test that are about what is asked: prompts, their lengths, turns of a chat, and tools."""

import argparse
import functools
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from load_tests.traffic.lengths import Lengths, read_lengths
from load_tests.traffic.prompts import Api
from nemostack import sample_dataset
from nemostack.errors import BadInput


class Asked(BaseModel):
    """What requests ask. `output_tokens` counts before `max_tokens`, and what a trace says before both."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    api: Api = "completions"
    prompts: Path
    prompt_column: str = "prompt"
    unique_prefix: bool = False
    input_tokens: Lengths | None = None
    shared_prefix: int = Field(default=0, ge=0)
    prefix_groups: int = Field(default=1, ge=1)
    turns: int = Field(default=1, ge=1)
    tools: Path | None = None
    max_tokens: int = Field(ge=1)
    output_tokens: Lengths | None = None
    fixed_length: bool = False
    temperature: float = Field(default=0.0, ge=0)

    def request_options(self, output_tokens: int) -> dict[str, Any]:
        """Keys of a request body apart from model, prompt and streaming."""
        options: dict[str, Any] = {"max_tokens": output_tokens, "temperature": self.temperature}
        if self.fixed_length:  # extension fields of vLLM and NIM
            options |= {"min_tokens": output_tokens, "ignore_eos": True}
        if self.tools is not None:
            options["tools"] = read_tools(self.tools)
        return options


def add_options(add: Callable[..., object]) -> None:
    """Add the options by `add(name, **settings)`."""
    add("--api", default="completions", choices=["completions", "chat"], help="Default: completions")
    add(
        "--prompts",
        default=str(sample_dataset.PROMPTS),
        metavar="FILE",
        help="JSONL of prompts (default: test.jsonl of the sample dataset)",
    )
    add("--prompt-column", default="prompt", metavar="KEY", help="Key of the text in each row (default: prompt)")
    add("--unique-prefix", action="store_true", help="Make every prompt new to the server's prefix cache")
    add(
        "--input-tokens",
        metavar="LENGTHS",
        help="Random words with exactly so many prompt tokens by the server's tokenizer, in place of --prompts: "
        "128, 64-256, normal:MEAN,STD or lognormal:MEDIAN,P95",
    )
    add(
        "--shared-prefix",
        type=int,
        default=0,
        metavar="TOKENS",
        help="With --input-tokens: so many of them are the same in all texts (a system prompt)",
    )
    add(
        "--prefix-groups",
        type=int,
        default=1,
        metavar="N",
        help="So many different shared prefixes, each as likely (default: 1)",
    )
    add(
        "--turns",
        type=int,
        default=1,
        metavar="N",
        help="Chats of N questions: each carries all that was said before (--api chat, closed loop; default: 1)",
    )
    add("--tools", metavar="FILE", help="JSON list of tools that each request of a chat offers")
    add("--max-tokens", type=int, default=64, help="Output tokens asked for (default: 64)")
    add("--output-tokens", metavar="LENGTHS", help="A distribution of them, as --input-tokens has it")
    add("--fixed-length", action="store_true", help="Exactly so many of them (min_tokens, ignore_eos: vLLM and NIM)")
    add("--temperature", type=float, default=0.0)


@functools.lru_cache(maxsize=1)
def read_tools(path: Path) -> list[Any]:
    """Read the tools of a chat. Raises BadInput."""
    try:
        tools = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise BadInput(f"cannot read --tools {path}: {error}") from error
    if not isinstance(tools, list) or not all(isinstance(tool, dict) and tool.get("type") for tool in tools):
        raise BadInput(f'--tools {path} is not a JSON list of tools, each with "type" and "function"')
    return tools


def asked_from(options: argparse.Namespace) -> dict[str, Any]:
    """Check what is asked, as fields of `Asked`. Raises BadInput."""
    if options.input_tokens and options.unique_prefix:
        raise BadInput("--unique-prefix is for --prompts: texts of --input-tokens are new ones anyway")
    if (options.shared_prefix or options.prefix_groups != 1) and not options.input_tokens:
        raise BadInput("--shared-prefix and --prefix-groups belong to --input-tokens")
    if options.api != "chat" and (options.turns != 1 or options.tools):
        raise BadInput("--turns and --tools belong to --api chat")
    if options.turns != 1 and options.arrivals != "closed":
        raise BadInput("--turns needs a closed loop: a question follows the answer to the one before it")
    if options.tools:
        read_tools(Path(options.tools))
    return {
        "api": options.api,
        "prompts": Path(options.prompts),
        "prompt_column": options.prompt_column,
        "unique_prefix": options.unique_prefix,
        "input_tokens": read_lengths("--input-tokens", options.input_tokens) if options.input_tokens else None,
        "shared_prefix": options.shared_prefix,
        "prefix_groups": options.prefix_groups,
        "turns": options.turns,
        "tools": Path(options.tools) if options.tools else None,
        "max_tokens": options.max_tokens,
        "output_tokens": read_lengths("--output-tokens", options.output_tokens) if options.output_tokens else None,
        "fixed_length": options.fixed_length,
        "temperature": options.temperature,
    }
