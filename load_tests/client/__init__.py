"""The HTTP client that times a streamed reply, and the record it leaves of each request."""
