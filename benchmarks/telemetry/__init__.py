"""What it costs to observe: spans, access log, scrapes, and collectors that fail."""
