"""Promotion: how a tuned model comes into use behind an alias, step by step, and how it goes again."""
