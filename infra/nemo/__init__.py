"""The NeMo services and NIMs: values of their charts, secrets, releases."""
