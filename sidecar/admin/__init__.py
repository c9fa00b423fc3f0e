"""The admin HTTP server: what this instance runs, knows and refuses, on loopback."""
