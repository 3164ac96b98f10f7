"""The gate: whether a tuned model may take the place of another one, by a policy that a team has written down."""
