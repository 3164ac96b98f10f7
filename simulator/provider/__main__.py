"""`python -m simulator.provider --engine-pid PID ENGINE`: what the generated `pulumi-resource-kubernetes` runs."""

import argparse

from nemostack.imports import without_collector

with without_collector():
    from simulator.provider.server import serve

parser = argparse.ArgumentParser(prog="pulumi-resource-kubernetes", description=__doc__)
parser.add_argument("engine", nargs="?", default="", help="address of the engine")
parser.add_argument("--engine-pid", type=int, required=True, help="process of the engine; this one ends with it")
known, _ = parser.parse_known_args()  # the engine also passes flags for logging and tracing
serve(known.engine, known.engine_pid)
