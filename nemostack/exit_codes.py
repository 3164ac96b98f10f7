"""The exit codes of every command: one number means one thing.

Exceptions carry theirs (`nemostack/errors.py`); the others are verdicts. Commands that run another program to its end
(`smoke`, `toolchain run`, `port-forward -- COMMAND`) exit with the code of that program.
"""

from enum import IntEnum
from typing import Final


class ExitCode(IntEnum):
    """Exit codes; `MEANINGS` says what each means."""

    DONE = 0
    FAILURE = 1
    BAD_INPUT = 2
    NO_TARGET = 3
    SERVICE = 4
    JOB_FAILED = 5
    TOO_LATE = 6
    RUN_LOCKED = 7
    UNHEALTHY = 8
    LEFT_BEHIND = 9
    NO_GO = 10
    INCONCLUSIVE = 11
    ROLLED_BACK = 12
    DRIFTED = 13
    LOAD_FAIL = 20
    LOAD_NOT_ENOUGH = 21
    LOAD_INVALID = 22
    LOAD_REGRESSION = 23
    INTERRUPTED = 130


MEANINGS: Final[dict[ExitCode, str]] = {
    ExitCode.DONE: "done; `gate`: GO; `load`: PASS",
    ExitCode.FAILURE: "unexpected, or not told apart further",
    ExitCode.BAD_INPUT: "an option, a file or a run directory cannot be used",
    ExitCode.NO_TARGET: "there are no stack outputs",
    ExitCode.SERVICE: "a service refused, answered nonsense or did not answer",
    ExitCode.JOB_FAILED: "a job ended as failed or cancelled",
    ExitCode.TOO_LATE: "a job or a service was not ready in time",
    ExitCode.RUN_LOCKED: "another process works in the run directory",
    ExitCode.UNHEALTHY: "the environment check or `doctor` found problems",
    ExitCode.LEFT_BEHIND: "`teardown` destroyed the stack, and something of it is left",
    ExitCode.NO_GO: "`gate`, `promote`: NO-GO, a rule of the policy is broken",
    ExitCode.INCONCLUSIVE: "`gate`, `promote`: INCONCLUSIVE, the data cannot tell; `watch`: too few requests",
    ExitCode.ROLLED_BACK: "`promote`: a canary broke an objective, and the alias leads where it led before",
    ExitCode.DRIFTED: "`watch`: inputs or judged quality are no longer those of the training and the evaluation",
    ExitCode.LOAD_FAIL: "`load`: FAIL, an objective was missed or nothing succeeded",
    ExitCode.LOAD_NOT_ENOUGH: (
        "`load`: NOT ENOUGH, nothing was missed, but an objective has too few samples; `load compare`: UNCLEAR"
    ),
    ExitCode.LOAD_INVALID: "`load`: INVALID, the client or the run spoiled the measurement",
    ExitCode.LOAD_REGRESSION: "`load compare`: REGRESSION, the candidate is worse by more than threshold and noise",
    ExitCode.INTERRUPTED: "interrupted by Ctrl-C, SIGTERM or SIGHUP",
}
