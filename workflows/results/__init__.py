"""Results of a run: scores of each approach, their comparison, and their export to MLflow."""
