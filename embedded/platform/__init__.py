"""What runs inside NVIDIA's NeMo Platform on the local target: plugins that its own discovery loads.

The platform's process is started by `nemo services run` from `.venv-platform`, where this package is installed without
our other dependencies: import nothing here but the standard library, NVIDIA's packages and what they bring.
"""
