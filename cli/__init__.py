"""The `nemostack` command: parse, call, render, exit. All work is done by the packages below."""
