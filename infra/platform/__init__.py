"""What the NeMo services stand on: operators, Postgres, object store, MLflow, routes, policies, monitoring."""
