"""Who may change things while we run: each source is `watch() -> AsyncIterator[Update]`."""
