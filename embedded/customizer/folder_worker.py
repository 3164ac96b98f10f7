"""A training process for jobs whose files are already there: `python -m embedded.customizer.folder_worker FOLDER`.

The folder holds `spec.json`, the rows below `dataset/` and, as the spec's weights, the base model; the result is
`artifact/`. Progress goes to `progress.jsonl`, the log to the standard output. Started again, it goes on from the last
checkpoint. It ends with whoever started it: when its standard input is closed.
"""

import argparse
import os
import traceback
from pathlib import Path

from embedded.customizer import stored_model, worker
from embedded.customizer.progress import Reporter
from embedded.customizer.spec import JobFolder
from embedded.customizer.training_rows import Template, read_rows


def main() -> None:
    """Train; exits 0 when the artifact is there, EXIT_FAILED after a report."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--whole-text", metavar="COLUMN", help="rows are texts in this column, without a prompt")
    arguments = parser.parse_args()
    worker.end_with_input()
    os.environ.update(HF_HUB_DISABLE_PROGRESS_BARS="1", HF_HUB_DISABLE_TELEMETRY="1", HF_HUB_OFFLINE="1")
    folder = JobFolder(arguments.folder)
    with worker.job_lock(folder.lock):
        reporter = Reporter(folder.progress)
        try:
            _train(folder, reporter, arguments.whole_text)
        except Exception as error:  # noqa: BLE001 - whoever started the job must see it, whatever it is
            if worker.disk_full(error):
                worker.end(worker.EXIT_DISK_FULL)
            described = worker.describe(error)
            if described["stack_trace"]:
                traceback.print_exc()
            reporter.failed(described)
            worker.end(worker.EXIT_FAILED)


def _train(folder: JobFolder, reporter: Reporter, whole_text: str | None) -> None:
    if folder.artifact.exists():
        return
    spec = folder.read_spec()
    template = Template(f"{{{whole_text}}}", whole=True) if whole_text else Template.parse(spec.prompt_template)
    reporter.log("reading dataset", spec.dataset_url)
    rows = read_rows(folder.dataset, template, seed=spec.seed, limit=spec.dataset_limit, hold_out=spec.hold_out)
    for warning in rows.warnings:
        reporter.warn(warning)
    stored_model.check(Path(spec.weights), spec.base_model)
    worker.train(spec, folder, reporter, rows)


if __name__ == "__main__":
    main()
