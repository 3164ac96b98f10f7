"""The NeMo microservices on one machine, without a GPU: a stand-in for the real ones, one package a service."""
