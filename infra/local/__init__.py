"""The local stack: real services of this machine as Pulumi resources, held by supervisor.

Pulumi decides what runs; supervisor holds the processes and their logs and restarts nothing by itself: a service
that died is drift, which `pulumi refresh` shows and `pulumi up` repairs. Everything listens on loopback.
"""
