"""The test files that take longest, so that processes that share the tests file by file begin with them.

A process that gets one of these last works on alone, while the others have ended. The order is that of measured times;
a file that is missing here, or no longer slow, costs time and nothing else.
"""

LONGEST_FIRST = (
    "contract/test_evaluator_benchmarks.py",
    "contract/test_customizer_failures.py",
    "contract/test_nim_process.py",
    "contract/test_nim.py",
    "contract/test_data_store_disk.py",
    "contract/test_customizer_training.py",
    "contract/test_evaluator_restart.py",
    "cluster/test_stack.py",
    "simulator/test_failed_tests.py",
    "cluster/test_layouts.py",
    "cluster/test_unchanged_stacks.py",
    "cluster/test_nemo_platform.py",
    "simulator/test_provider.py",
    "simulator/test_provider_releases.py",
)


def position(path: str) -> int:
    """Return the place of a test file in the order of work."""
    places = (place for place, name in enumerate(LONGEST_FIRST) if path.endswith(f"/{name}"))
    return next(places, len(LONGEST_FIRST))
