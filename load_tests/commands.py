"""The commands `nemostack load`, `load report`, `load compare` and `load mock`.

`python -m load_tests` is the same commands without the rest of `nemostack`. Every option of `load` belongs to Locust's
parser, to which `options` adds those of this load test; they are passed on as they are.
"""

import os
import subprocess
import sys
from pathlib import Path
from typing import Annotated, Any, Final, Literal

import typer
from typer.core import TyperGroup

from nemostack.ports import free_port
from nemostack.termination import Terminated

LOCUSTFILE: Final = Path(__file__).with_name("locustfile.py")
HELP: Final = "Load-test NIM, base model and LoRA adapters mixed. The verdict is the exit code."
USAGE: Final = """Usage: nemostack load [options]                     load a NIM, report, exit by verdict
       nemostack load report DIR [--slo FILE]     make the report of a finished run again
       nemostack load compare A B                 is B worse than A, by more than noise?
       nemostack load capacity RUN... --rate N    replicas, GPUs and cost for a rate
       nemostack load mock [--port 8000 ...]      a server of known cadence, to check the client with
       nemostack load --find-max --slo FILE ...   the highest rate that holds (--steps 2,4,8: at these rates)

Example: nemostack load --stack local --users 8 --duration 20s --slo examples/slo.local.yaml
Further options are Locust's own, e.g. -u/--users N (default: 1) and --processes N (workers; N users in all); on several
machines --master --master-bind-host HOST --expect-workers N on one, and --worker --master-host HOST on the others.
With --workers N --image IMAGE the load comes from N pods in the cluster of --stack.
"""


class LoadGroup(TyperGroup):
    """A group whose default command is `run`: arguments that name no other command are options of the load test."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Insert `run` where no command is named."""
        if not args or args[0] not in self.commands:
            args = ["run", *args]
        return super().parse_args(ctx, args)


app = typer.Typer(cls=LoadGroup, help=HELP, pretty_exceptions_enable=False, add_completion=False)


@app.command(
    hidden=True,
    context_settings={"ignore_unknown_options": True, "allow_extra_args": True, "help_option_names": []},
)
def run(context: typer.Context) -> None:
    """Load a NIM, report, exit by verdict."""
    if {"-h", "--help"} & set(context.args):
        print_help()
        return
    from load_tests import plan

    made = plan.make(context.args)
    for note in made.notes:
        print(note, file=sys.stderr)

    def publish_run(folder: Path) -> None:
        from load_tests.exports.mlflow import publish

        print(publish(folder, uri=made.mlflow or "", experiment=made.experiment), file=sys.stderr)

    def run_once(arguments: list[str]) -> int:
        if made.fleet is not None:
            from load_tests.cluster import run as from_cluster

            return from_cluster.run(made.fleet, arguments, journey=made.journey)
        return run_locust(arguments, locustfile=made.journey or LOCUSTFILE, web=made.web)

    raise typer.Exit(plan.execute(made, run_once, publish_run))


@app.command()
def report(
    folder: Annotated[Path, typer.Argument(help="Folder of a finished run.")],
    *,
    slo: Annotated[Path | None, typer.Option(help="Other objectives than the run's.")] = None,
) -> None:
    """Make the report of a finished run again, with other objectives if you like, and exit by its verdict."""
    from load_tests.run_folder import conclude

    raise typer.Exit(conclude(folder, slo))


@app.command()
def compare(
    baseline: Annotated[Path, typer.Argument(help="Folder of a finished run, or of several runs of the same thing.")],
    candidate: Annotated[Path, typer.Argument(help="The same, of what is to be judged.")],
    *,
    metric: Annotated[
        list[str] | None, typer.Option(help="Such as 'ttft_ms p95' or output_token_throughput. Default: five of them.")
    ] = None,
    threshold: Annotated[float, typer.Option(min=0, help="A change within this share is none.")] = 0.05,
    run_noise: Annotated[
        float, typer.Option(min=0, help="By how much two runs are taken to differ, with fewer than three on a side.")
    ] = 0.10,
    allow_differences: Annotated[
        bool, typer.Option("--allow-differences", help="Compare runs of different settings.")
    ] = False,
    format_: Annotated[
        Literal["text", "markdown", "junit", "json"], typer.Option("--format", help="What to print.")
    ] = "text",
) -> None:
    """Say whether a candidate is worse than a baseline, by more than threshold and noise; exit by the answer."""
    from load_tests.comparison import compare_folders, render
    from load_tests.verdict.compare import DEFAULT_METRICS

    found = compare_folders(
        baseline,
        candidate,
        names=metric or DEFAULT_METRICS,
        threshold=threshold,
        run_noise=run_noise,
        allow_differences=allow_differences,
    )
    print(render(found, format_))
    raise typer.Exit(found.exit_code)


@app.command()
def capacity(
    folders: Annotated[list[Path], typer.Argument(help="Finished runs at several rates, or folders of them.")],
    *,
    slo: Annotated[Path, typer.Option(help="SLO file that says what a replica has to hold.")],
    rate: Annotated[float, typer.Option(min=0.000001, help="Requests per second to plan for.")],
    gpu: Annotated[str, typer.Option(help="Machine of the price table, by its name or its GPU.")],
    gpus_per_replica: Annotated[int, typer.Option(min=1, help="GPUs of the replica that was measured.")] = 1,
    headroom: Annotated[float, typer.Option(min=0, max=0.9, help="Share of a replica's limit to keep free.")] = 0.2,
    prices: Annotated[Path | None, typer.Option(help="Price table of your own. Default: the program's.")] = None,
    format_: Annotated[Literal["text", "json"], typer.Option("--format", help="What to print.")] = "text",
) -> None:
    """From measured runs, an SLO and a price: replicas, GPUs and cost for a rate, and what of it was not measured."""
    from load_tests import capacity as planning
    from nemostack.prices import TABLE, pick, read_prices

    price = pick(read_prices(prices or TABLE), gpu)
    points, found, made = planning.capacity(
        folders, slo_file=slo, target_rate=rate, price=price, gpus_per_replica=gpus_per_replica, headroom=headroom
    )
    print(planning.render(points, found, made, price, kind=format_))


@app.command(hidden=True)
def chaos(
    *,
    nim_url: Annotated[str, typer.Option(metavar="URL", help="Whom to bother.")],
    model: Annotated[str, typer.Option(metavar="ID", help="The model that is asked for where one has to be right.")],
    clients: Annotated[int, typer.Option(min=1, help="How many at a time.")] = 4,
    seconds: Annotated[float | None, typer.Option(help="Stop after so long. Default: when told to.")] = None,
) -> None:
    """Be a few clients that misbehave, until stopped."""
    import threading
    import time

    from load_tests.chaos import Chaos
    from load_tests.options import api_key

    end = None if seconds is None else time.monotonic() + seconds
    crowd = [Chaos(nim_url, model, seed=k, api_key=api_key(nim_url)) for k in range(clients)]
    threads = [
        threading.Thread(
            target=one.run, kwargs={"until": lambda: end is not None and time.monotonic() >= end}, daemon=True
        )
        for one in crowd
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    print({way: sum(one.done.get(way, 0) for one in crowd) for one in crowd for way in one.done})


@app.command()
def mock(
    *,
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="0: a free one. The address is printed.")] = 0,
    ttft: Annotated[float, typer.Option(metavar="SECONDS", help="Time to the first token.")] = 0.05,
    itl: Annotated[float, typer.Option(metavar="SECONDS", help="Between events; 0: as fast as they are read.")] = 0.01,
    tokens: Annotated[int | None, typer.Option(min=1, help="Per reply. Default: the request's max_tokens.")] = None,
    tokens_per_event: Annotated[int, typer.Option(min=1, help="Tokens in one event.")] = 1,
    stall_at: Annotated[
        float | None, typer.Option(metavar="SECONDS", help="Freeze all streams so long after the first request.")
    ] = None,
    stall_for: Annotated[float, typer.Option(metavar="SECONDS", help="How long they stay frozen.")] = 0.0,
    adapter: Annotated[list[str] | None, typer.Option(metavar="ID", help="An adapter to list. Default: two.")] = None,
    adapters: Annotated[int | None, typer.Option(min=1, help="List so many adapters, and no faults.")] = None,
    adapter_itl: Annotated[
        float | None, typer.Option(metavar="SECONDS", help="Between events of adapters. Default: as the base model.")
    ] = None,
    slots: Annotated[
        int | None, typer.Option(min=1, help="LoRA slots: a request of an adapter in none of them waits.")
    ] = None,
    load_time: Annotated[float, typer.Option(metavar="SECONDS", help="To load an adapter into a slot.")] = 0.0,
    batch: Annotated[
        int | None, typer.Option(min=1, help="Requests served at a time; others wait. Default: all are served.")
    ] = None,
    runtime_loading: Annotated[
        bool, typer.Option("--runtime-loading", help="Have vLLM's routes to load adapters.")
    ] = False,
    listing: Annotated[
        Literal["parent", "root"], typer.Option(help="Key of /v1/models that tells whose adapter a model is.")
    ] = "parent",
    log: Annotated[Path | None, typer.Option(help="JSONL file of when each reply was sent.")] = None,
) -> None:
    """Serve tokens at a known cadence, as a server to check the client with."""
    from load_tests.mock_nim import Cadence, Listing, serve_until_stopped

    listed = Listing(adapters=tuple(adapter) if adapter else Listing.adapters, style=listing)
    if adapters is not None:
        names = (*(adapter or ()), *(f"mock/adapter-{k:04d}@cust-{k}" for k in range(1, adapters + 1)))
        listed = Listing(adapters=names, style=listing, faults=())
    serve_until_stopped(
        Cadence(
            ttft_s=ttft,
            itl_s=itl,
            tokens=tokens,
            tokens_per_event=tokens_per_event,
            stall_at_s=stall_at,
            stall_for_s=stall_for,
            adapter_itl_s=adapter_itl,
        ),
        listed,
        host=host,
        port=port,
        log=log,
        slots=slots,
        load_s=load_time,
        places=batch,
        runtime_loading=runtime_loading,
    )


def run_locust(arguments: list[str], *, locustfile: Path = LOCUSTFILE, web: bool = False) -> int:
    """Run a locustfile in a process of its own; returns its exit code, which is the verdict's."""
    command = [sys.executable, "-m", "locust", "-f", str(locustfile)]
    # with a page the load comes from another process, whose stamps the page must not delay
    command += ["--headless"] if not web else [] if "--master" in arguments else ["--processes", "1"]
    # whoever reaches a master's port can join it: Locust asks nobody who he is
    command += ["--master-bind-host", "127.0.0.1", *arguments]
    named = {argument.partition("=")[0] for argument in command}
    if "--processes" in named and not named & {"--master-port", "--master-bind-port"}:
        port = str(free_port())  # Locust's own default is one for all runs of this machine
        command += ["--master-bind-port", port, "--master-port", port]
    # Locust's own summary has bucketed percentiles that would contradict ours: without its log it is not printed
    # a journey lies anywhere, and imports this package
    paths = os.pathsep.join(filter(None, [str(LOCUSTFILE.parents[1]), os.environ.get("PYTHONPATH")]))
    with subprocess.Popen(
        [*command, "--only-summary", "--skip-log-setup"], env={**os.environ, "PYTHONPATH": paths}
    ) as locust:
        while True:
            try:
                return locust.wait()
            except Terminated:
                locust.terminate()  # it still writes the report
            except KeyboardInterrupt:
                continue  # Locust has the signal too, and still writes the report


def print_help() -> None:
    """Print the options of this load test and of Locust."""
    import argparse

    from locust.argument_parser import LocustArgumentParser

    from load_tests import plan
    from load_tests.options import add_options

    parser = LocustArgumentParser(usage=argparse.SUPPRESS, add_help=False)
    add_options(parser)
    print(USAGE)
    print(plan.parser().format_help())
    print(parser.format_help())
