"""The toolchain: finds, downloads or builds the programs that the stacks need, and runs commands with them.

`python -m tools --help` lists the commands. Refuses to install anything outside its cache folder.
"""
