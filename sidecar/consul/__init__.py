"""Consul over HTTP: where it is, one bounded client, and watches that follow the rules of blocking queries."""
