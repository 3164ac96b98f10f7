"""Pulumi starts here; the program is `infra/__main__.py`.

Here, and not by `main: infra/` in Pulumi.yaml, because the engine runs a program's plugins in the folder of its main
file, where it would look for the virtual environment and for our provider.
"""

import infra.__main__  # noqa: F401
