"""Load from the cluster of a stack: `nemostack load --stack gke --workers 20`.

A run is no lasting part of a stack, so its objects are made by kubectl and not by Pulumi (docs/adr/0017).
"""
