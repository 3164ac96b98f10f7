"""Load tests of a NIM with LoRA adapters: Locust sends, we time, judge and report.

`locustfile.py` is the place to start reading. Numbers come from raw samples that this package keeps itself;
Locust's own statistics are rounded into buckets and are used for nothing but its live table.
"""
