"""Finding the outputs of a stack, from the place that the user names.

In order: single flags win over everything; `--outputs FILE` or NEMOSTACK_OUTPUTS names a JSON file; otherwise the
Pulumi stack is asked. When the flags alone say everything, nobody is asked. Refuses unknown and missing keys, and URLs
that are none. What destroys asks the stack itself (`of_stack`): neither a file nor a variable can mislead it.
"""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from pydantic import ValidationError

from nemostack import log_lines
from nemostack.base_urls import base_url, notice
from nemostack.clone import ROOT
from nemostack.errors import NoOutputs, TargetError
from nemostack.outputs import StackOutputs
from nemostack.redact import redact
from nemostack.validation import validation_lines

ENV_OUTPUTS = "NEMOSTACK_OUTPUTS"
MICROSERVICES = ":microservices"
"""After the name of a stack that runs both products: the outputs of its microservices. No stack's name has a colon."""
REQUIRED_URLS = ("nemo_url", "data_store_url", "nim_url", "nim_internal_url", "mlflow_url", "judge_url")
URL_KEYS = (*REQUIRED_URLS, "nemo_internal_url")
OPTIONAL_KEYS = ("mlflow_url", "nemo_internal_url")  # empty: a stack without it
FLAG_KEYS = (*REQUIRED_URLS, "judge_model", "base_model", "customization_config")
PULUMI_TIMEOUT_S = 600.0  # the first call may have to fetch or build the toolchain
_HINT = f"is the stack up? `make up` starts the local one; or name the services with --outputs FILE or {ENV_OUTPUTS}"


def resolve(stack: str, outputs_file: Path | None, flags: dict[str, str | None]) -> StackOutputs:
    """Find the outputs to use. `flags` maps keys of StackOutputs to values, None where the user gave none.

    Raises NoOutputs for a stack that has none, else TargetError.
    """
    given = {key: value for key, value in flags.items() if value is not None}
    file = named_file(outputs_file)
    if file is not None:
        return _validated({**_from_file(file), **given}, f"{file}")
    if "nim_url" in given:
        given.setdefault("nim_internal_url", given["nim_url"])
    if set(FLAG_KEYS) <= given.keys():
        return _validated({"target": "given", "log_commands": {}, **given}, "the options given")
    try:
        outputs = _from_stack(stack)
    except TargetError as error:
        raise type(error)(f"{error}; {_HINT}") from error
    return _validated({**outputs, **given}, f"stack {stack!r}")


def named_file(outputs_file: Path | None) -> Path | None:
    """Return the file with the outputs that an option or a variable names, None where the stack is to be asked."""
    return outputs_file or (Path(os.environ[ENV_OUTPUTS]) if os.environ.get(ENV_OUTPUTS) else None)


def of_stack(stack: str) -> StackOutputs:
    """Find the outputs of this stack and no other. Raises NoOutputs when it has none, else TargetError."""
    return _validated(_from_stack(stack), f"stack {stack!r}")


def _from_file(file: Path) -> dict[str, Any]:
    try:
        loaded = json.loads(file.read_text())
    except (OSError, ValueError) as error:
        raise TargetError(f"reading stack outputs from {file} failed: {error}; expected a JSON object") from error
    if not isinstance(loaded, dict):
        raise TargetError(f"{file} holds no JSON object; `pulumi stack output --json` writes one")
    return loaded


def _from_stack(stack: str) -> dict[str, Any]:
    name = stack.removesuffix(MICROSERVICES)
    outputs = _from_whole_stack(name)
    if name == stack:
        return outputs
    if not isinstance(outputs.get("microservices"), dict):
        raise TargetError(f"stack {name!r} does not run both products: leave {MICROSERVICES} out")
    within: dict[str, Any] = outputs["microservices"]
    return within | {"kubeconfig": outputs.get("kubeconfig", "")}


def _from_whole_stack(stack: str) -> dict[str, Any]:
    command = ["nemostack", "outputs", "--stack", stack]
    argv = [sys.executable, "-m", "cli", *command[1:]]
    try:
        done = subprocess.run(
            argv,
            cwd=ROOT,
            env=log_lines.text_environment(),
            capture_output=True,
            text=True,
            timeout=PULUMI_TIMEOUT_S,
            check=False,
            stdin=subprocess.DEVNULL,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise TargetError(f"asking for the outputs of stack {stack!r} failed: {error}") from error
    if done.returncode != 0:
        reason = " ".join((done.stderr.strip() or done.stdout.strip() or "no message").splitlines()[-1:])
        raise TargetError(redact(f"`{' '.join(command)}` failed (exit {done.returncode}): {reason}"))
    try:
        loaded = json.loads(done.stdout)
    except ValueError as error:
        raise TargetError(f"stack {stack!r} answered no JSON: {redact(done.stdout[:200])!r}") from error
    if not isinstance(loaded, dict):
        raise TargetError(f"stack {stack!r} answered no JSON object: {redact(done.stdout[:200])!r}")
    if not loaded:
        raise NoOutputs(f"stack {stack!r} has no outputs")
    return loaded


def _validated(values: dict[str, Any], source: str) -> StackOutputs:
    try:
        outputs = StackOutputs.model_validate(values)
    except ValidationError as error:
        problems = "; ".join(validation_lines(error))
        raise TargetError(f"the stack outputs of {source} cannot be used: {problems}") from error
    absent = {*OPTIONAL_KEYS, "data_store_url"} if outputs.product == "platform" else OPTIONAL_KEYS
    for key in URL_KEYS:
        if key in absent and not getattr(outputs, key):
            continue
        parts = urlsplit(getattr(outputs, key))
        if parts.scheme not in {"http", "https"} or not parts.netloc:
            value = redact(getattr(outputs, key))
            raise TargetError(f"{key}={value!r} of {source} is no URL: expected http(s)://host[:port]")
    for line in filter(None, (notice(key, getattr(outputs, key)) for key in URL_KEYS)):
        print(f"notice: {redact(line)}", file=sys.stderr)
    return outputs.model_copy(update={key: base_url(key, getattr(outputs, key)) for key in URL_KEYS})
