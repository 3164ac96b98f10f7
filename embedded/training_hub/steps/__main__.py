"""Run one step: `python -m embedded.training_hub.steps STEP`, in the environment that the job service gives it.

Exits 0 when the step is done. Otherwise the reason is in the task's `status_details.error`, and is the last line of the
step's log, which the job service keeps as `error_stack`.
"""

import argparse
import sys
import traceback

from embedded.customizer.spec import JobError
from embedded.training_hub.jobs import STEPS
from embedded.training_hub.steps import download, register, train, upload
from embedded.training_hub.steps.job import Job

_RUN = dict(zip(STEPS, (download.run, train.run, upload.run, register.run), strict=True))


def main() -> None:
    """Run the step that is named."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("step", choices=STEPS)
    job = Job.from_environment()
    try:
        _RUN[parser.parse_args().step](job)
    except JobError as error:
        job.fail(error.message, error.explanation, type(error).__name__)
    except Exception as error:  # noqa: BLE001 - whoever started the job must see it, whatever it is
        traceback.print_exc()
        job.fail(f"{type(error).__name__}: {error}", None, type(error).__name__)
    else:
        return
    sys.exit(1)


if __name__ == "__main__":
    main()
