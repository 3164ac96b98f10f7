"""The processes of a job that trains on several GPUs, one each: data-parallel training.

Each process holds the whole model and computes the gradient of its share of a batch's rows. accelerate adds up the
gradients before every optimizer step, so that all processes take the same one. The job's own process is the first: it
alone reports and writes. Gradients are added once a step, and not after every pass as
DistributedDataParallel does, because the processes may need different numbers of passes.
"""

import json
import os
import pickle
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path
from typing import Any, TypeVar

from embedded.customizer.spec import JobError, JobFolder, JobSpec
from embedded.customizer.tokens import Example

BUCKET_BYTES = 64 * 2**20
"""Gradients are added in pieces of about this size: one message for many small ones, no second copy of large ones."""
FAILURE_GRACE_S = 5.0
"""An error that all processes meet is reported by the first one, which gets this long to do so."""
END_GRACE_S = 10.0
Row = TypeVar("Row")


@dataclass(frozen=True)
class Replicas:
    """`count` processes, of which this is number `rank` (from 0)."""

    rank: int = 0
    count: int = 1

    @property
    def leads(self) -> bool:
        """Whether this process reports and writes."""
        return self.rank == 0

    def share(self, rows: Sequence[Row]) -> list[Row]:
        """Return the rows that this process computes; none, if there are fewer rows than processes."""
        return list(rows[self.rank :: self.count])

    def total(self, value: float, device: Any) -> float:
        """Return the sum of the processes' values; the same in all of them."""
        if self.count == 1:
            return value
        import torch
        from accelerate.utils import reduce

        return float(reduce(torch.tensor(value, dtype=torch.float64, device=device), "sum"))

    def add_gradients(self, parameters: Sequence[Any]) -> None:
        """Set the gradient of each parameter to the sum of the processes' gradients."""
        if self.count == 1:
            return
        import torch
        from accelerate.utils import reduce

        for bucket in _buckets(parameters):
            parts = [torch.zeros_like(p) if p.grad is None else p.grad for p in bucket]
            added = reduce(torch.cat([part.reshape(-1) for part in parts]), "sum")
            for parameter, part in zip(bucket, added.split([p.numel() for p in bucket]), strict=True):
                parameter.grad = part.view_as(parameter)


ALONE = Replicas()


def _buckets(parameters: Sequence[Any]) -> Iterator[list[Any]]:
    ends = accumulate(p.numel() * p.element_size() for p in parameters)
    bucket: list[Any] = []
    number = 0
    for parameter, end in zip(parameters, ends, strict=True):
        if bucket and end // BUCKET_BYTES != number:
            yield bucket
            bucket = []
        number = end // BUCKET_BYTES
        bucket.append(parameter)
    yield bucket


@dataclass(frozen=True)
class Task:
    """What the first process hands to another one."""

    spec: JobSpec
    folder: Path
    rank: int
    train: list[Example]
    validation: list[Example]


def join(spec: JobSpec, folder: JobFolder, rank: int) -> Replicas:
    """Meet the other processes. They find each other by a file, and speak over loopback only."""
    from accelerate import PartialState

    os.environ.update(
        RANK=str(rank),
        WORLD_SIZE=str(spec.processes),
        LOCAL_RANK=str(rank),
        LOCAL_WORLD_SIZE=str(spec.processes),
        OMP_NUM_THREADS=str(spec.threads_per_process),
        GLOO_SOCKET_IFNAME="lo",
        NCCL_SOCKET_IFNAME="lo",
    )
    PartialState(
        cpu=spec.device == "cpu",
        init_method=folder.rendezvous.as_uri(),
        rank=rank,
        world_size=spec.processes,
    )
    return Replicas(rank, spec.processes)


def leave() -> None:
    """Part from the other processes when all are done; each waits here for the others.

    NCCL asks for it: a process that ends without it can hang in its own clean-up. After a failure nobody must wait, and
    the processes just end.
    """
    import torch

    torch.distributed.destroy_process_group()


@contextmanager
def started(
    spec: JobSpec,
    folder: JobFolder,
    train: list[Example],
    validation: list[Example],
    *,
    fail: Callable[[dict[str, Any]], None],
) -> Iterator[Replicas]:
    """Start the other processes of a job, and end them with the block.

    `fail` is called with an error in the shape of `JobLogs.error` when one of them ends early; it does not return,
    for this process may be waiting for the lost one inside of a system call.
    """
    if spec.processes == 1:
        yield ALONE
        return
    folder.rendezvous.unlink(missing_ok=True)  # of a run that was interrupted
    over = threading.Event()
    others = {rank: _start(spec, folder, rank, train, validation) for rank in range(1, spec.processes)}

    def watch(rank: int) -> None:
        if others[rank].wait() != 0 and not over.wait(FAILURE_GRACE_S):
            fail(_reason(folder, others) or {})

    for rank in others:
        threading.Thread(target=watch, args=(rank,), daemon=True).start()
    try:
        yield join(spec, folder, 0)
        leave()
    except JobError:  # every process meets it, and this one reports it
        raise
    except Exception as error:
        # A broken connection is all that this process sees of another one that is about to be gone.
        deadline = time.monotonic() + FAILURE_GRACE_S
        while (reason := _reason(folder, others)) is None and time.monotonic() < deadline:
            time.sleep(0.05)
        if reason:
            raise JobError(reason["message"], reason.get("explanation")) from error
        raise
    finally:
        over.set()
        for process in others.values():
            _end(process)


def _start(
    spec: JobSpec, folder: JobFolder, rank: int, train: list[Example], validation: list[Example]
) -> subprocess.Popen[bytes]:
    folder.replica_error(rank).unlink(missing_ok=True)
    process = subprocess.Popen(
        [sys.executable, "-m", "embedded.customizer.replica"],
        stdin=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
    )
    # The pipe stays open: its end tells the process that this one is gone.
    assert process.stdin
    pickle.dump(Task(spec, folder.root, rank, train, validation), process.stdin)
    process.stdin.flush()
    return process


def _reason(folder: JobFolder, others: dict[int, subprocess.Popen[bytes]]) -> dict[str, Any] | None:
    """Return why one of the other processes ended, in the shape of `JobLogs.error`; None if all live.

    That one was killed comes first: the others then fail for want of it.
    """
    codes = {rank: process.poll() for rank, process in others.items()}
    for rank, code in sorted(codes.items(), key=lambda item: item[1] or 0):
        if code and not folder.replica_error(rank).exists():
            how = f"was ended by {signal.Signals(-code).name}" if code < 0 else f"exited with code {code}"
            return {"message": f"process {rank + 1} of the job's {len(others) + 1} {how}; see container-logs"}
        if code:
            reason: dict[str, Any] = json.loads(folder.replica_error(rank).read_text())
            return reason
    return None


def _end(process: subprocess.Popen[bytes]) -> None:
    if process.stdin:
        process.stdin.close()
    deadline = time.monotonic() + END_GRACE_S
    while process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.05)
    if process.poll() is None:
        process.kill()
        process.wait()
