"""The load test as a stage: NIM with the base model and the tuned one mixed, before the cleanup takes the latter away.

`load_tests` does the work in a process of its own, because Locust patches the standard library on import. A missed
objective is a verdict in the report, not a failure of the run; a test that could not be made is one. Where the machine
is so slow that too few requests end for a verdict, it is made once more, for as long as enough of them should take.
"""

import json
import math
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from nemostack import log_lines
from nemostack.errors import JobFailed
from nemostack.exit_codes import ExitCode
from nemostack.files import write_atomically
from nemostack.models import Model
from workflows.data import dataset
from workflows.data.rows import as_load_prompts
from workflows.engine.stage import Context

FOLDER, PROMPTS = "load", "load_prompts.jsonl"
USERS = 8
DURATION_S = 15
LONGEST_S = 120
MARGIN = 1.5
"""How many times the requests that a verdict needs a second test is to have."""
WARMUP_S = 3
MAX_TOKENS = 32
"""Of an answer: on two cores more than the load test's own default would leave too few requests for a verdict."""
_VERDICTS = {ExitCode.DONE, ExitCode.LOAD_FAIL, ExitCode.LOAD_NOT_ENOUGH, ExitCode.LOAD_INVALID}
DEADLINE_S = 300.0


class LoadTested(Model):
    """Outputs of the stage. Times in milliseconds, `report` relative to the run directory."""

    verdict: str
    requests: int
    errors: int
    tokens_per_s: float | None
    ttft_p95_ms: float | None
    report: str

    @property
    def line(self) -> str:
        """Everything in one line."""
        ttft = "" if self.ttft_p95_ms is None else f", TTFT p95 {self.ttft_p95_ms:.0f} ms"
        tokens = "" if self.tokens_per_s is None else f", {self.tokens_per_s:.0f} tokens/s"
        return f"{self.verdict}: {self.requests} requests, {self.errors} errors{tokens}{ttft}"


def run(context: Context, model: str) -> LoadTested:
    """Load NIM with the base model and `model`. Raises JobFailed with the last line of a load test that failed."""
    settings, outputs = context.settings, context.outputs
    folder = context.run.path.resolve() / FOLDER
    prompts = context.run.path.resolve() / PROMPTS
    write_atomically(prompts, as_load_prompts(dataset.load(settings).test))
    command = [
        *(sys.executable, "-m", "load_tests", "--nim-url", outputs.inference_url, "--base-model", outputs.base_model),
        *("--adapters", model, "--api", "chat", "--prompts", str(prompts)),
        *("--users", str(USERS), "--warmup", f"{WARMUP_S}s", "--max-tokens", str(MAX_TOKENS)),
        *("--slo", str(settings.load_slo), "--out", str(folder)),
    ]
    if outputs.product == "platform":  # its gateway has no numbers of the model server
        command += ["--server-metrics", f"{outputs.nim_url}/metrics"]
    context.progress.update(f"{USERS} users for {WARMUP_S + DURATION_S} s")
    report = _test(command, DURATION_S, folder)
    if report["exit_code"] == ExitCode.LOAD_NOT_ENOUGH:
        missing = MARGIN * report["slo"]["min_samples"] / max(1, report["overall"]["successes"])
        duration = min(LONGEST_S, math.ceil(DURATION_S * missing))
        if duration > DURATION_S:
            few = f"{report['overall']['successes']} requests ended in {DURATION_S} s, too few for a verdict"
            context.progress.update(f"{few}; once more for {WARMUP_S + duration} s")
            report = _test(command, duration, folder)
    return _summarize(report)


def _test(command: Sequence[str], duration: int, folder: Path) -> Any:
    """Make one test; its report."""
    shutil.rmtree(folder, ignore_errors=True)  # of an attempt that was interrupted, or of a shorter test
    code, out, err = _complete([*command, "--duration", f"{duration}s"])
    if code not in _VERDICTS:
        raise JobFailed(f"the load test failed (exit {code}): {_last(err or out)}")
    try:
        return json.loads((folder / "report.json").read_text())
    except (OSError, ValueError) as error:
        raise JobFailed(f"the load test left no report that can be read: {error}") from error


def _complete(command: Sequence[str]) -> tuple[int, str, str]:
    """Run to the end: exit code, stdout, stderr. However it is left, Locust ends too, which is a child of the child."""
    pipe = subprocess.PIPE
    with subprocess.Popen(
        command, env=log_lines.text_environment(), stdout=pipe, stderr=pipe, text=True, start_new_session=True
    ) as process:
        try:
            out, err = process.communicate(timeout=DEADLINE_S)
        except BaseException as error:  # too late, or Ctrl-C, which a session of its own does not get
            os.killpg(process.pid, signal.SIGKILL)
            _, err = process.communicate()
            if isinstance(error, subprocess.TimeoutExpired):
                raise JobFailed(f"the load test did not end within {DEADLINE_S:.0f} s; {_last(err)}") from error
            raise
    return process.returncode, out, err


def _summarize(data: Any) -> LoadTested:
    whole = data["overall"]
    return LoadTested(
        verdict=data["verdict"],
        requests=whole["successes"],
        errors=whole["errors"],
        tokens_per_s=whole["scalars"]["output_token_throughput"],
        ttft_p95_ms=whole["latencies"]["ttft_ms"]["percentiles"]["p95"],
        report=f"{FOLDER}/report.html",
    )


def _last(text: str) -> str:
    return " ".join(text.strip().splitlines()[-1:]) or "it said nothing"
