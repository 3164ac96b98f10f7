"""kubectl as a program, and as a client of the cluster that the outputs of a stack name."""
