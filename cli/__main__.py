"""`python -m cli`: the `nemostack` command by the name of its package."""

from cli.main import main

main()
