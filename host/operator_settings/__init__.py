"""Settings that operators change while everything runs, and where each setting's value is from."""
