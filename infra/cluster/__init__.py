"""A stack on Kubernetes as a whole: its components in order of need, its placement and its outputs."""
