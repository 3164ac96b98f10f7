"""The program for the Kubernetes targets: the real Pulumi engine on the simulated cluster of `simulator/`."""
