"""Everything decided before a request is sent: which model, when, and with which prompt."""
