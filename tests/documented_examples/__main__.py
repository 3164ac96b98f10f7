"""Run the examples of the platform's own documentation against a stack of that line.

    .venv/bin/python -m tests.documented_examples --stack platform --out build/examples.json

The Python and shell blocks of a page are run in their order and in one session, as a reader would who keeps to one tab;
then again for each other tab. A block works if it does in one of these readings. Before each of them what a page
presumes is prepared (`presumed`), and after it everything that it has made is deleted: use a stack of your own.

`--as-printed` prepares nothing and replaces nothing but the address of the platform. It prints a table of pages, and
under each page every block that failed with the end of its message; `--resume` leaves out the pages whose results an
earlier run wrote to `--out`. Refuses nothing: what an example wants that the stack has not (a GPU, a key, the
internet) is its result.
"""

import argparse
import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from nemostack.clients import Timeouts
from nemostack.clients.platform import Platform
from nemostack.outputs import StackOutputs
from tests.documented_examples import traces
from tests.documented_examples.pages import TOPICS, Block, read_blocks, read_in, read_page, ways
from tests.documented_examples.presumed import INSTALLED, Presumed, rewritten, what_is_presumed
from tests.documented_examples.session import opened

BIN = Path(__file__).resolve().parents[2] / ".venv-platform" / "bin"
_ADDRESSES = (
    "https://your-nemo-platform-url",
    "https://your-nmp-base-url",
    "<YOUR_NMP_BASE_URL>",
    "http://localhost:8080",
    "http://nemo.test",
    "http://127.0.0.1:8080",
)
Result = dict[str, str]


def run_page(
    blocks: Sequence[Block], variables: Mapping[str, str], presumed: Presumed, platform: Platform | None = None
) -> list[Result]:
    """Run the blocks of a page, once for each way of reading it."""
    before = traces.look(platform) if platform else set()
    errors: list[dict[str, str]] = [{} for _ in blocks]
    for way in ways(blocks):
        with opened(BIN / "python", {**presumed.variables, **variables}) as session:
            for language, text in presumed.preparations:
                if problem := session.run(language, text):
                    print(f"  preparation failed: {problem}", file=sys.stderr, flush=True)
            for number in read_in(blocks, way):
                block = blocks[number]
                for language, text in presumed.just_before(block):
                    session.run(language, text)
                text = rewritten(block.text, presumed.replaced)
                errors[number][way] = session.run(block.language, text)
        if platform:
            for line in traces.remove_new(platform, before):
                print(f"  left behind: {line}", file=sys.stderr, flush=True)
    return [
        {"language": block.language, "tab": block.tab, "text": block.text, "error": _error(block, found)}
        for block, found in zip(blocks, errors, strict=True)
    ]


def _error(block: Block, found: dict[str, str]) -> str:
    """Nothing if the block worked in one way; else what it said in its own, or in the first."""
    if not all(found.values()):
        return ""
    return found.get(block.tab) or next(iter(found.values()), "read in no way")


def show_page(topic: str, results: Sequence[Result]) -> None:
    """Print the page's row of the table, and what each block that failed said."""
    print(f"| {topic} | {len(results)} | {sum(not block['error'] for block in results)} |", flush=True)
    for number, block in enumerate(results, 1):
        if block["error"]:
            print(f"  example {number} ({block['language']}): {block['error']}", file=sys.stderr, flush=True)


def main() -> int:
    """Run the pages; the exit code says whether they could be run, not whether all examples work."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("topics", nargs="*", default=TOPICS, help="pages of `nemo docs --list`; default: the main ones")
    parser.add_argument("--stack", default="platform")
    parser.add_argument("--replace", action="append", default=[], metavar="OLD=NEW", help="in all blocks")
    parser.add_argument("--as-printed", action="store_true", help="prepare and replace nothing but the address")
    parser.add_argument("--out", type=Path, default=Path("build/documented-examples.json"))
    parser.add_argument("--resume", action="store_true", help="run only the pages whose results are not in --out")
    options = parser.parse_args()
    command = [sys.executable, "-m", "cli", "outputs", "--stack", options.stack]
    outputs = StackOutputs.model_validate_json(subprocess.run(command, stdout=subprocess.PIPE, check=True).stdout)
    addresses = dict.fromkeys(_ADDRESSES, outputs.nemo_url) | dict(one.split("=", 1) for one in options.replace)
    folder = next(BIN.parent.glob("lib/python*/site-packages/nemo_platform/cli/docs"))
    variables = {"NMP_BASE_URL": outputs.nemo_url, "PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}"}
    earlier = options.resume and options.out.exists()
    pages: dict[str, list[Result]] = json.loads(options.out.read_text(encoding="utf-8")) if earlier else {}
    options.out.parent.mkdir(parents=True, exist_ok=True)
    platform = Platform(outputs.nemo_url, Timeouts(read=60))
    print("| page | examples | work |\n|---|---|---|")
    for topic in options.topics:
        if topic not in pages:
            page = rewritten(read_page(folder, topic), addresses | INSTALLED)
            presumed = Presumed() if options.as_printed else what_is_presumed(topic, outputs)
            pages[topic] = run_page(list(read_blocks(page)), variables, presumed, platform)
            options.out.write_text(json.dumps(pages, indent=1), encoding="utf-8")
        show_page(topic, pages[topic])
    total = [block for results in pages.values() for block in results]
    print(f"| all | {len(total)} | {sum(not block['error'] for block in total)} |")
    return 0


if __name__ == "__main__":
    sys.exit(main())
