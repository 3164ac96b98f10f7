"""The library that all packages of this project stand on: stack outputs, service clients, kubectl, errors, reports.

Imports nothing of the other packages.
"""
