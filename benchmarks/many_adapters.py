"""A thousand adapters by Zipf's law on a NIM of eight slots: what a cold one costs, and which is served worst.

    .venv-embedded/bin/python -m benchmarks.many_adapters [--adapters 1000] [--slots 8] [--duration 300s] [--users 8]

Serves the small model of the tests, random weights in all adapters, with the embedded NIM from a folder, and runs the
scenario `zipf-1000` against it from `.venv`. All adapters have the same values under names of their own: only their
number and size matter for speed. What is measured is this machine's processor and the small model, so ratios between
cold and warm say more than milliseconds; the report of the load test has all of it.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import httpx

from benchmarks.nim import running, serve_command
from nemostack.clone import ROOT
from tests.base_model import MODEL_ID, WEIGHTS

HARNESS = ROOT / ".venv" / "bin" / "python"
LISTED_WITHIN_S = 600


def write_adapters(folder: Path, count: int, rank: int) -> None:
    """Write one adapter of random matrices, and the others as the same files under other names."""
    import peft
    import torch
    from transformers import AutoModelForCausalLM

    torch.manual_seed(0)
    model: Any = AutoModelForCausalLM.from_pretrained(WEIGHTS, dtype=torch.float32)
    config = peft.LoraConfig(
        r=rank, lora_alpha=2 * rank, target_modules="all-linear", init_lora_weights=False, task_type="CAUSAL_LM"
    )
    first = folder / "adapter-0001"
    peft.get_peft_model(model, config).save_pretrained(str(first))
    for number in range(2, count + 1):
        place = folder / f"adapter-{number:04d}"
        place.mkdir()
        for file in first.iterdir():
            if file.is_file():
                (place / file.name).hardlink_to(file)


def wait_listed(url: str, count: int) -> float:
    """Wait until all adapters are listed; the seconds that took."""
    started = time.monotonic()
    while (listed := len(httpx.get(f"{url}/v1/models", timeout=60).json()["data"])) < count:
        if time.monotonic() - started > LISTED_WITHIN_S:
            sys.exit(f"{url} lists {listed} models within {LISTED_WITHIN_S} s, and {count} are wanted")
        time.sleep(1)
    return time.monotonic() - started


def load(url: str, out: Path, options: argparse.Namespace) -> dict[str, Any]:
    """Run the scenario; returns its report."""
    command = [str(HARNESS), "-m", "load_tests", "--scenario", "zipf-1000", "--nim-url", url, "--out", str(out)]
    command += ["--needs-adapters", str(options.adapters), "--lora-slots", str(options.slots)]
    command += ["--users", str(options.users), "--duration", options.duration, "--request-timeout", "300s"]
    done = subprocess.run(command, cwd=ROOT, check=False)
    if not (out / "report.json").is_file():
        sys.exit(f"the load test ended with {done.returncode} and left no report in {out}")
    report: dict[str, Any] = json.loads((out / "report.json").read_text())
    return report


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--adapters", type=int, default=1000)
    parser.add_argument("--slots", type=int, default=8, help="adapters in one batch")
    parser.add_argument("--in-memory", type=int, default=16, help="adapters that stay in the processor's memory")
    parser.add_argument("--rank", type=int, default=8)
    parser.add_argument("--users", type=int, default=8)
    parser.add_argument("--duration", default="300s")
    parser.add_argument("--port", type=int, default=28702)
    parser.add_argument("--out", type=Path, help="folder of the report (default: a temporary one)")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="many-adapters-") as name:
        folder = Path(name)
        write_adapters(folder / "adapters", options.adapters, options.rank)
        settings = {
            "base_model": MODEL_ID,
            "model_path": str(WEIGHTS),
            "peft_source": str(folder / "adapters"),
            "max_loras": options.slots,
            "max_cpu_loras": options.in_memory,
        }
        url = f"http://127.0.0.1:{options.port}"
        command = serve_command("nim", folder, options.port, **settings)
        with running(command, folder / "nim.log", url) as ready_s:
            listed_s = wait_listed(url, options.adapters + 1)
            print(f"NIM was ready after {ready_s:.0f} s, its adapters {listed_s:.0f} s later", flush=True)
            report = load(url, options.out or folder / "report", options)
    print(json.dumps(report["adapters"], indent=2))


if __name__ == "__main__":
    main()
