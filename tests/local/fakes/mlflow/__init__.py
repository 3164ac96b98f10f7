"""Stands for the MLflow package in the clone that tests/local makes."""
