"""The pages of the platform's documentation as a reader has them before him: snippets put in, blocks told by their tab.

The documentation is the one that the installed package carries. A group of tabs shows the same thing in several ways,
of which a reader takes one: whoever creates a workspace in Python does not create it by the command as well.
"""

import re
import textwrap
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

TOPICS = (
    "get-started/concepts/workspaces",
    "get-started/concepts/projects",
    "get-started/concepts/entities",
    "get-started/concepts/entity-references",
    "get-started/concepts/filtering",
    "get-started/concepts/manage-files",
    "get-started/concepts/manage-secrets",
    "pysdk/index",
    "pysdk/client/index",
    "cli/configuration",
    "cli/working-with-resources",
    "cli/troubleshooting",
    "customizer/manage-model-entities/create-fileset",
    "customizer/manage-model-entities/create-model-entity",
    "customizer/models/data-format",
    "customizer/manage-customization-jobs/create-job",
    "customizer/manage-customization-jobs/get-job-status",
    "customizer/manage-customization-jobs/list-active-jobs",
    "customizer/manage-customization-jobs/cancel-job",
    "customizer/manage-customization-jobs/hyperparameters",
    "customizer/tutorials/format-training-dataset",
    "customizer/tutorials/import-hf-model",
    "customizer/tutorials/lora-customization-job",
    "customizer/tutorials/sft-customization-job",
    "customizer/tutorials/metrics",
    "evaluator/metrics/similarity",
    "evaluator/metrics/llm-as-a-judge",
    "evaluator/metrics/manage-metrics",
    "evaluator/metrics/job-management",
    "evaluator/metrics/model-configuration",
    "evaluator/metrics/results",
    "evaluator/metrics/remote",
    "evaluator/benchmarks/custom",
    "evaluator/benchmarks/manage-benchmarks",
    "evaluator/benchmarks/job-management",
    "evaluator/benchmarks/results",
    "evaluator/tutorials/define-run-custom-python-metrics",
    "evaluator/tutorials/run-llm-judge-evaluation",
    "run-inference/about",
    "run-inference/tutorials/run-inference",
    "run-inference/tutorials/deploy-models",
    "set-up/manage-jobs",
    "studio/virtual-models",
)
"""Pages about files, entities, models, adapters, customization, evaluation, inference and jobs, and the clients'."""

_LANGUAGES = {"py": "python", "sh": "bash", "shell": "bash", "console": "bash"}
_PART = re.compile(
    r"^(?P<indent> *)```(?P<language>\w+)[^\n]*\n(?P<text>.*?)^(?P=indent)```"
    r'|(?P<group><Tabs>)|<Tab title="(?P<tab>[^"]*)"|(?P<end></Tabs>)',
    re.MULTILINE | re.DOTALL,
)
_SNIPPET = re.compile(r'<Markdown src="/(?P<path>snippets/[^"]+)" */>')
_SNIPPETS = "fern"


@dataclass(frozen=True)
class Block:
    """An example. `group`, `tab`: the group of tabs that it is in, by its number on the page, and its tab there."""

    language: str
    text: str
    group: int = 0
    tab: str = ""


def read_page(folder: Path, topic: str) -> str:
    """Read a page below the documentation's folder, with the snippets that it shows."""

    def shown(match: re.Match[str]) -> str:
        file = folder / _SNIPPETS / match["path"]
        return file.read_text(encoding="utf-8") if file.exists() else ""

    return _SNIPPET.sub(shown, (folder / f"{topic}.mdx").read_text(encoding="utf-8"))


def read_blocks(page: str) -> Iterator[Block]:
    """Read the Python and shell blocks of a page."""
    groups, group, tab = 0, 0, ""
    for part in _PART.finditer(page):
        if part["group"]:
            groups += 1
            group, tab = groups, ""
        elif part["end"]:
            group, tab = 0, ""
        elif part["tab"]:
            tab = part["tab"]
        else:
            language = _LANGUAGES.get(part["language"], part["language"])
            if language in ("python", "bash"):
                yield Block(language, textwrap.dedent(part["text"]), group, tab)


def ways(blocks: Sequence[Block]) -> list[str]:
    """Titles of the tabs that a reader can keep to, in the order of the page; one without a title where none are."""
    return list(dict.fromkeys(block.tab for block in blocks if block.group)) or [""]


def read_in(blocks: Sequence[Block], way: str) -> list[int]:
    """Numbers of the blocks that a reader follows who takes the tab `way` wherever it is, and else the first one."""
    chosen: dict[int, str] = {}
    for block in blocks:
        if block.group and (block.group not in chosen or block.tab == way):
            chosen[block.group] = block.tab
    return [number for number, block in enumerate(blocks) if not block.group or chosen[block.group] == block.tab]
