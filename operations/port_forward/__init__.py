"""The services of a cluster stack on loopback, under the URLs of its outputs."""
