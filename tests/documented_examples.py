"""The examples of the platform's own documentation, run against a stack of that line: which of them work.

    .venv/bin/python -m tests.documented_examples --stack platform --out build/examples.json

The documentation is the one that the installed package carries (`nemo docs TOPIC`). The Python and shell blocks of a
page are run in their order and in one session, as a reader would; names of models in them are replaced by the stack's
(`--replace`). It prints a table of pages, and every block that failed with the end of its message. Refuses nothing:
what an example wants that the stack has not (a GPU, a key, the internet) is its result.
"""

import argparse
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import textwrap
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NoReturn

BIN = Path(__file__).resolve().parents[1] / ".venv-platform" / "bin"
BLOCK_S = 90
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
_FENCE = re.compile(
    r"^(?P<indent> *)```(?P<language>\w+)[^\n]*\n(?P<text>.*?)^(?P=indent)```", re.MULTILINE | re.DOTALL
)
_ADDRESSES = ("https://your-nemo-platform-url", "http://localhost:8080", "http://127.0.0.1:8080")


class TooLongError(Exception):
    """A block did not end in time."""


def read_blocks(page: str) -> Iterator[tuple[str, str]]:
    """Read the language and the text of each Python and shell block of a page."""
    for match in _FENCE.finditer(page):
        language = {"py": "python", "sh": "bash", "shell": "bash", "console": "bash"}.get(
            match["language"], match["language"]
        )
        if language in ("python", "bash"):
            yield language, textwrap.dedent(match["text"])


def run_page(blocks: list[tuple[str, str]], variables: dict[str, str]) -> list[dict[str, str]]:
    """Run the blocks of a page in one session: a Python namespace, a folder and the variables that a shell exports."""
    results = []
    with tempfile.TemporaryDirectory() as folder:
        session = {**os.environ, **variables}
        python = subprocess.Popen(
            [BIN / "python", "-P", __file__, "--session"],  # -P: tests/platform would hide the module platform
            cwd=folder,
            env=session,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        assert python.stdin
        assert python.stdout
        with python:
            for language, text in blocks:
                if language == "python":
                    python.stdin.write(json.dumps(text) + "\n")
                    python.stdin.flush()
                    error = json.loads(python.stdout.readline() or '"the session ended"')
                else:
                    error = _run_shell(text, Path(folder), session)
                results.append({"language": language, "text": text, "error": error})
            python.stdin.close()
    return results


def _run_shell(text: str, folder: Path, session: dict[str, str]) -> str:
    """Run a block of the shell, and keep what it exports for the next one. Returns the end of its errors."""
    kept = folder / ".exported"
    script = f"set -eo pipefail\n{text}\nenv -0 > {kept}\n"
    command = ["bash", "-c", script]
    try:
        done = subprocess.run(
            command,
            cwd=folder,
            env=session,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=BLOCK_S,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return f"did not end within {BLOCK_S} s"
    if done.returncode:
        return (done.stderr or done.stdout).strip()[-600:] or f"exit code {done.returncode}"
    session |= dict(line.split("=", 1) for line in kept.read_text().split("\0") if "=" in line)
    return ""


def serve_session() -> None:
    """Execute blocks of Python, one JSON text a line on stdin, in one namespace; answer each with its error."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what examples print is no answer
    namespace: dict[str, Any] = {"__name__": "__main__"}

    def stop(*_arguments: object) -> NoReturn:
        raise TooLongError(f"did not end within {BLOCK_S} s")

    signal.signal(signal.SIGALRM, stop)
    for line in sys.stdin:
        signal.alarm(BLOCK_S)
        error = ""
        try:
            exec(compile(json.loads(line), "example", "exec"), namespace)  # noqa: S102 - the documentation's own
        except BaseException as failure:  # noqa: BLE001 - also SystemExit: it is the example's result
            error = "".join(traceback.format_exception_only(failure)).strip()[-600:]
        signal.alarm(0)
        answers.write(json.dumps(error) + "\n")
        answers.flush()


def read_page(topic: str) -> str:
    """Read a page of the installed package's documentation."""
    done = subprocess.run([BIN / "nemo", "docs", topic], capture_output=True, text=True, check=True)
    return done.stdout


def main() -> int:
    """Run the pages; the exit code says whether they could be run, not whether all examples work."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("topics", nargs="*", default=TOPICS, help="pages of `nemo docs --list`; default: the main ones")
    parser.add_argument("--stack", default="platform")
    parser.add_argument("--replace", action="append", default=[], metavar="OLD=NEW", help="in all blocks")
    parser.add_argument("--out", type=Path, default=Path("build/documented-examples.json"))
    options = parser.parse_args()
    command = [sys.executable, "-m", "cli", "outputs", "--stack", options.stack]
    outputs = json.loads(subprocess.run(command, stdout=subprocess.PIPE, check=True).stdout)
    replaced = dict.fromkeys(_ADDRESSES, outputs["nemo_url"]) | dict(one.split("=", 1) for one in options.replace)
    pages: dict[str, list[dict[str, str]]] = {}
    options.out.parent.mkdir(parents=True, exist_ok=True)
    print("| page | examples | work |\n|---|---|---|")
    for topic in options.topics:
        page = read_page(topic)
        for old, new in replaced.items():
            page = page.replace(old, new)
        variables = {"NMP_BASE_URL": outputs["nemo_url"], "PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}"}
        pages[topic] = run_page(list(read_blocks(page)), variables)
        worked = sum(not block["error"] for block in pages[topic])
        print(f"| {topic} | {len(pages[topic])} | {worked} |", flush=True)
        options.out.write_text(json.dumps(pages, indent=1), encoding="utf-8")
    for topic, blocks in pages.items():
        for number, block in enumerate(blocks, 1):
            if block["error"]:
                print(f"\n{topic}, example {number} ({block['language']}): {block['error']}", file=sys.stderr)
    return 0


if __name__ == "__main__":
    if sys.argv[1:] == ["--session"]:
        serve_session()
    else:
        sys.exit(main())
