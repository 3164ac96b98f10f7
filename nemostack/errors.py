"""The errors that users see, and the exit code of each kind.

    NemostackError            1   anything below, not told apart further
    ├── ToolchainError            a program is missing, cannot be installed, or failed
    ├── LocalServiceError         a service of the local stack cannot be started or stopped
    ├── BadInput              2   an option, a dataset or a run directory that cannot be used (Typer's usage errors too)
    │   └── SettingsError         the settings of a stack cannot be used: one line per problem
    ├── TargetError           3   the outputs of the stack cannot be had
    │   └── NoOutputs             there are none: the stack never came up, or nothing of it is deployed
    ├── ServiceError          4   a service refused a request or answered nonsense
    │   ├── Unreachable           no answer at all: refused, reset, timed out
    │   ├── Forbidden             401, 403; the cluster does not let us
    │   ├── NotFound              404
    │   └── Conflict              409
    ├── JobFailed             5   a job ended as failed or cancelled
    ├── DeadlineExceeded      6   a job or a service did not get there in time
    ├── RunLocked             7   another process works in this run directory
    ├── Unhealthy             8   the environment check found problems
    ├── NotPromoted          10   the gate has not said that the model may be used
    ├── RolledBack           12   a canary broke an objective, and was taken back
    ├── TooFew               11   what was seen of a served model is too little to tell
    ├── Drifted              13   a served model is asked other things than it was trained for, or answers worse
    └── LeftBehind            9   teardown destroyed the stack, and something is left of it

All exit codes, verdicts included, are in `nemostack/exit_codes.py`.
A message says what was tried, what came back and what to do next, in one line.
"""
# ruff: noqa: N818 - named for what happened, as the tree above reads

from nemostack.exit_codes import ExitCode

PRIVATE_CA_HINT = (
    "for a private CA set SSL_CERT_FILE and REQUESTS_CA_BUNDLE to a file with its certificate: some clients read the "
    "one, some the other"
)


def no_answer_hint(problem: str, otherwise: str) -> str:
    """Return the remedy for a server that did not answer, from the text of the problem."""
    return PRIVATE_CA_HINT if "CERTIFICATE_VERIFY_FAILED" in problem else otherwise


class NemostackError(Exception):
    """An expected failure; its text is all a user gets to see."""

    exit_code = ExitCode.FAILURE


class ToolchainError(NemostackError):
    """A program that the stacks need is missing, cannot be installed, or failed."""


class LocalServiceError(NemostackError):
    """A service of the local stack cannot be started, stopped or reached."""


class BadInput(NemostackError):
    """What the user gave cannot be used."""

    exit_code = ExitCode.BAD_INPUT


class SettingsError(BadInput):
    """The settings of a stack cannot be used; one line per problem."""


class TargetError(NemostackError):
    """Which services to talk to cannot be found out."""

    exit_code = ExitCode.NO_TARGET


class NoOutputs(TargetError):
    """The stack has none: it never came up, or nothing of it is deployed."""


class ServiceError(NemostackError):
    """A service refused, or answered what nobody can use.

    `status` is the HTTP status, None without one; `hint` says what to do and ends the text.
    """

    exit_code = ExitCode.SERVICE

    def __init__(self, message: str, status: int | None = None, *, hint: str = "") -> None:
        super().__init__(message)
        self.status = status
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.args[0]}; {self.hint}" if self.hint else str(self.args[0])


class Unreachable(ServiceError):
    """No answer."""


class Forbidden(ServiceError):
    """Not allowed, or not logged in."""


class NotFound(ServiceError):
    """404."""


class Conflict(ServiceError):
    """409."""


class JobFailed(NemostackError):
    """A job of the Evaluator or the Customizer ended without a result."""

    exit_code = ExitCode.JOB_FAILED


class DeadlineExceeded(NemostackError):
    """Waited long enough."""

    exit_code = ExitCode.TOO_LATE


class RunLocked(NemostackError):
    """Somebody else works there."""

    exit_code = ExitCode.RUN_LOCKED


class Unhealthy(NemostackError):
    """Problems that must be solved before a run makes sense."""

    exit_code = ExitCode.UNHEALTHY


class NotPromoted(NemostackError):
    """The gate has not said GO."""

    exit_code = ExitCode.NO_GO


class RolledBack(NemostackError):
    """A canary broke an objective; what was used before is used again."""

    exit_code = ExitCode.ROLLED_BACK


class TooFew(NemostackError):
    """Nothing can be told of what was seen."""

    exit_code = ExitCode.INCONCLUSIVE


class Drifted(NemostackError):
    """What a served model is asked, or how good its answers are, has changed."""

    exit_code = ExitCode.DRIFTED


class LeftBehind(NemostackError):
    """The stack is destroyed, but not everything is gone."""

    exit_code = ExitCode.LEFT_BEHIND
