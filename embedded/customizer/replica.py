"""One of the other processes of a job that trains on several GPUs; see `replicas`. Run as `python -m`, task on stdin.

It computes its share and writes nothing but, when it fails, the reason. It ends itself when the first process is gone.
"""

import json
import os
import pickle
import sys
from pathlib import Path

from embedded.customizer import devices, replicas
from embedded.customizer.progress import Reporter
from embedded.customizer.spec import JobFolder
from embedded.customizer.worker import EXIT_FAILED, describe, end, end_with_input


def main() -> None:
    """Train along, from where the job stands to its end."""
    task: replicas.Task = pickle.load(sys.stdin.buffer)  # noqa: S301 - from the process that started this one
    end_with_input()
    folder = JobFolder(task.folder)
    try:
        _train(task, folder)
    except Exception as error:  # noqa: BLE001 - whoever started the job must see it, whatever it is
        folder.replica_error(task.rank).write_text(json.dumps(describe(devices.shortage(task.spec, error) or error)))
        end(EXIT_FAILED)


def _train(task: replicas.Task, folder: JobFolder) -> None:
    devices.prepare_environment(task.spec)
    from embedded.customizer.model import TunedModel
    from embedded.customizer.training import Run

    devices.claim(task.spec, task.rank)
    group = replicas.join(task.spec, folder, task.rank)
    reporter = Reporter(Path(os.devnull))
    model = TunedModel(task.spec, reporter)
    run = Run(task.spec, folder, model, train=task.train, validation=task.validation, reporter=reporter, replicas=group)
    run.resume()
    run.train()
    replicas.leave()


if __name__ == "__main__":
    main()
