"""What the forge decides about shipping: merges of pull requests, and required checks."""
