"""The journal of steps, the context that a step runs in, and enqueueing."""
