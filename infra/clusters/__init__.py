"""Clusters: made on a cloud, or adopted. Each ends in one `Cluster`, which is all that the rest knows of it."""
