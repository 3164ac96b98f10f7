"""Runs inside of the sandbox (see sandbox.py): gives up its rights, then plays one of two parts.

`candidate` executes the code that a model wrote and answers calls of its function. `referee` executes the tests, which
are not the model's, and asks the candidate over a pipe for each value; only it gives a verdict. So the model's code
sees neither tests nor expected values, and what it writes anywhere is at most a wrong answer to a call.

Standard library only: this text is given to a Python that has nothing else. Only plain values cross the pipe (numbers,
texts, lists, tuples, sets, dictionaries, None); a candidate that returns anything else has failed.
"""

import json
import os
import resource
import sys
from typing import Any

TASK_FILE = "/task.json"
MAX_LINE = 1 << 20
_PLAIN = (bool, int, float, str)


class CallError(Exception):
    """The candidate raised, answered with something that is no plain value, or does not answer any more."""


def encode(value: Any) -> Any:
    """Give `value` as JSON can carry it, types included; TypeError for what is no plain value."""
    if value is None or isinstance(value, _PLAIN):
        return value
    if isinstance(value, list):
        return [encode(item) for item in value]
    for kind in (tuple, set, frozenset):
        if isinstance(value, kind):
            return {kind.__name__: [encode(item) for item in value]}
    if isinstance(value, dict):
        return {"dict": [[encode(key), encode(item)] for key, item in value.items()]}
    if isinstance(value, bytes | bytearray):
        return {"bytes": list(value)}
    if isinstance(value, complex):
        return {"complex": [value.real, value.imag]}
    raise TypeError(f"{type(value).__name__} is no plain value")


def decode(value: Any) -> Any:
    """Read what `encode` gave; any exception means that it was something else."""
    if isinstance(value, list):
        return [decode(item) for item in value]
    if not isinstance(value, dict):
        return value
    ((kind, items),) = value.items()
    if kind == "dict":
        return {decode(key): decode(item) for key, item in items}
    if kind == "bytes":
        return bytes(items)
    if kind == "complex":
        return complex(*items)
    return {"tuple": tuple, "set": set, "frozenset": frozenset}[kind](decode(item) for item in items)


def _give_up_rights(task: dict[str, Any]) -> None:
    """Become nobody where we are root, and bind ourselves by limits that cannot be lifted again."""
    if os.getuid() == 0:
        os.setgroups([])
        os.setresgid(task["user"], task["user"], task["user"])
        os.setresuid(task["user"], task["user"], task["user"])
    for name, value in task["limits"].items():
        resource.setrlimit(getattr(resource, name), (value, value))
    if os.getuid() == 0 or os.geteuid() == 0:
        raise SystemExit("still root")


def _take(descriptor: int) -> int:
    """Move an end of a pipe out of the way of whatever prints; nothing is read from or printed to it any more."""
    own = os.dup(descriptor)
    null = os.open("/dev/null", os.O_RDWR)
    os.dup2(null, descriptor)
    os.close(null)
    return own


def play_candidate(task: dict[str, Any]) -> None:
    """Answer each line `[args, kwargs]` with `{"value"}` or `{"error"}`."""
    with os.fdopen(_take(0), "rb") as calls, os.fdopen(_take(1), "wb") as answers:

        def answer(**message: Any) -> None:
            answers.write(json.dumps(message).encode() + b"\n")
            answers.flush()

        space: dict[str, Any] = {}
        try:
            exec(task["program"], space)  # noqa: S102 - this is what the sandbox is for
            function = space[task["entry_point"]]
        except BaseException as error:  # noqa: BLE001 - whatever the code raises, SystemExit too
            answer(error=f"{type(error).__name__}: {error}"[:300])
            return
        answer(value="ready")
        for line in calls:
            args, kwargs = (decode(part) for part in json.loads(line))
            try:
                answer(value=encode(function(*args, **kwargs)))
            except BaseException as error:  # noqa: BLE001 - see above
                answer(error=f"{type(error).__name__}: {error}"[:300])


def _complete(beginning: str) -> str:
    """Give the last function of a beginning of a program a body, where it does not have its text for documentation."""
    try:
        compile(beginning, "helpers", "exec")
    except SyntaxError:
        return f"{beginning}\n    pass\n"
    return beginning


def play_referee(task: dict[str, Any]) -> None:
    """Run the tests against the candidate; the verdict goes to what was stderr."""
    verdict, answers, calls = _take(2), os.fdopen(_take(0), "rb"), os.fdopen(_take(1), "wb")

    def receive() -> Any:
        line = answers.readline(MAX_LINE)
        if not line.endswith(b"\n"):
            raise CallError("its process ended" if len(line) < MAX_LINE else f"it answered more than {MAX_LINE} bytes")
        try:
            message = json.loads(line)
            if "error" in message:
                raise CallError(str(message["error"]))
            return decode(message["value"])
        except (ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
            raise CallError(f"it answered what is no value: {type(error).__name__}") from error

    def candidate(*args: Any, **kwargs: Any) -> Any:
        try:
            calls.write(json.dumps([encode(list(args)), encode(kwargs)]).encode() + b"\n")
            calls.flush()
        except OSError as error:
            raise CallError("its process ended") from error
        return receive()

    try:
        receive()
        space: dict[str, Any] = {}
        exec(_complete(task["helpers"]), space)  # noqa: S102 - of the problem, not of the model
        space[task["entry_point"]] = candidate
        exec(task["tests"], space)  # noqa: S102 - of the problem, not of the model
        result = {"passed": True, "reason": ""}
    except AssertionError:
        result = {"passed": False, "reason": "a test failed"}
    except CallError as error:
        result = {"passed": False, "reason": str(error)}
    except BaseException as error:  # noqa: BLE001 - a value of a wrong type breaks a test in any way
        result = {"passed": False, "reason": f"a test failed: {type(error).__name__}: {error}"[:300]}
    os.write(verdict, json.dumps(result).encode())


def main() -> None:
    """Read the task, then play its part."""
    with open(TASK_FILE, "rb") as file:  # noqa: PTH123 - nothing is imported that is not needed
        task = json.load(file)
    _give_up_rights(task)
    {"candidate": play_candidate, "referee": play_referee}[task["part"]](task)
    sys.stdout = sys.stderr = None
    os._exit(0)


if __name__ == "__main__":
    main()
