"""A seeded soak: random actions and kills on a whole stack, with probes and invariants."""
