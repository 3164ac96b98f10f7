"""The report of a run as JSON, CSV, text and one HTML page."""
