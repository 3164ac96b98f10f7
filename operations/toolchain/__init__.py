"""The programs that stacks need: found, downloaded or built, and kept in a cache folder.

Refuses to install anything outside its cache folder.
"""
