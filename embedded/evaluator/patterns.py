r"""Regular expressions of users, matched in a process of its own within limits of processor time and memory.

Python's `re` backtracks: an innocent pattern such as `(\w+\s*)+SCORE: (\d)` can need years for a reply of a hundred
words, and it holds the interpreter's lock meanwhile, so the whole service would stand still. Processor time is limited,
not the time on the clock: a busy machine makes no pattern wrong.
"""

import json
import signal
import subprocess
import sys
from collections.abc import Sequence
from typing import Any

CPU_SECONDS = 5
MEMORY_BYTES = 1 << 30
MAX_REPLY = 100_000  # characters of a reply that are looked at: the last, as the last match counts
BATCH = 200  # replies that share the limit
_WALL_SECONDS = 300  # only for a machine that gives hardly any processor time
# Run by a bare interpreter. It answers a line at a time, so that the reply in which time ran out is known.
_PROGRAM = """
import json, re, resource, sys
cpu, memory = int(sys.argv[1]), int(sys.argv[2])
resource.setrlimit(resource.RLIMIT_CPU, (cpu, cpu + 1))
resource.setrlimit(resource.RLIMIT_AS, (memory, memory))
resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
asked = json.load(sys.stdin)
try:
    pattern = re.compile(asked["pattern"])
except (re.error, RecursionError, OverflowError) as error:
    print(json.dumps({"error": str(error)}), flush=True)
    sys.exit(0)
print(json.dumps({"groups": pattern.groups}), flush=True)
for text in asked["texts"]:
    last = None
    for last in pattern.finditer(text):
        pass
    groups = [group for group in last.groups() if group is not None] if last else []
    print(json.dumps({"found": groups[0] if groups else None}), flush=True)
"""


class PatternError(Exception):
    """The pattern cannot be used; the text says why."""


def check_pattern(pattern: str) -> None:
    """PatternError unless `pattern` is a regular expression with a group, which can be read within the limits."""
    first = _run(pattern, [])[0]
    if "error" in first:
        raise PatternError(f"regex {pattern!r}: {first['error']}")
    if first["groups"] < 1:
        raise PatternError(f"regex {pattern!r} has no group: put the score in parentheses")


def find_last(pattern: str, texts: Sequence[str]) -> list[str | None]:
    """Return the first group that matched in the last match of `pattern` in each text, or None.

    PatternError when a text takes longer than CPU_SECONDS or more memory than MEMORY_BYTES.
    """
    matches: list[str | None] = []
    for start in range(0, len(texts), BATCH):
        batch = [text[-MAX_REPLY:] for text in texts[start : start + BATCH]]
        lines = _run(pattern, batch)
        if len(lines) != 1 + len(batch):
            raise PatternError(f"regex {pattern!r}: {lines[0].get('error', 'it cannot be used')}")
        matches += [line["found"] for line in lines[1:]]
    return matches


def _run(pattern: str, texts: list[str]) -> list[dict[str, Any]]:
    command = [sys.executable, "-I", "-S", "-c", _PROGRAM, str(CPU_SECONDS), str(MEMORY_BYTES)]
    asked = json.dumps({"pattern": pattern, "texts": texts})
    try:
        done = subprocess.run(command, input=asked, capture_output=True, text=True, timeout=_WALL_SECONDS, check=False)
    except subprocess.TimeoutExpired:
        raise PatternError(f"regex {pattern!r} takes too long: more than {_WALL_SECONDS} s") from None
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    if done.returncode == 0:
        return lines
    where = f" on reply {len(lines)}" if lines else ""
    if done.returncode in {-signal.SIGXCPU, -signal.SIGKILL}:
        raise PatternError(
            f"regex {pattern!r} takes too long{where}: more than {CPU_SECONDS} s of processor time; avoid repetitions "
            "inside repetitions, such as (\\w+\\s*)+"
        )
    reason = (done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[-1]
    raise PatternError(f"regex {pattern!r} cannot be matched{where}: {reason}")
