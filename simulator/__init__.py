"""The simulated cluster: a real Kubernetes control plane whose nodes, operators, charts and Kubernetes plugin stand in.

README.md tells what is real, what is simulated and from which source each stand-in is written. Nothing of the product
imports this package, and no wheel contains it. Linux only: processes end with their parent by a system call that only
Linux has.
"""
