"""Understands `mlflow server ... --port N`."""

import sys

from embedded.serve import serve  # type: ignore[attr-defined]  # the fake one

serve("mlflow", int(sys.argv[sys.argv.index("--port") + 1]))
