"""`python -m simulator --gpu-nodes 3`: a simulated cluster to try things on, until Ctrl-C.

Prints the line that points kubectl, helm or `pulumi up` of target `existing` at it. Nothing of it stays.
"""

import argparse
import signal
import sys
import tempfile
from pathlib import Path

from nemostack.errors import ToolchainError
from simulator.control_plane import ControlPlane, ControlPlaneError


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m simulator", description=__doc__)
    parser.add_argument("--gpu-nodes", type=int, default=2, help="nodes with GPUs; default: 2")
    parser.add_argument("--gpus", type=int, default=4, help="GPUs of each, 80 GB; default: 4")
    parser.add_argument("--nodes", type=int, default=2, help="nodes without GPUs; default: 2")
    args = parser.parse_args()
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        with (
            tempfile.TemporaryDirectory(prefix="nemostack-cluster-") as folder,
            ControlPlane.start(Path(folder) / "plane") as plane,
        ):
            plane.add_gpu_nodes(args.gpu_nodes, gpus=args.gpus)
            plane.add_nodes(args.nodes)
            print(f"export KUBECONFIG={plane.kubeconfig}", flush=True)
            print("==> simulated: no container runs; Ctrl-C ends it", file=sys.stderr, flush=True)
            signal.pause()
    except (ControlPlaneError, ToolchainError, TimeoutError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 0
    return 0


if __name__ == "__main__":
    sys.exit(main())
