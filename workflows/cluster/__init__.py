"""What the harness does with a stack's cluster: look at it (doctor), reach into it (port-forward), tear it down."""
