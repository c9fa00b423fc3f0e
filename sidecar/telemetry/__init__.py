"""What the data plane observed, on its way out."""
