"""Understands `mlflow server ... --port N`."""

import sys

from embedded.serve import serve

serve("mlflow", int(sys.argv[sys.argv.index("--port") + 1]))
