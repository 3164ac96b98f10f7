"""The platform below the NeMo services: operators, Postgres, object store, MLflow, routes, policies, monitoring."""
