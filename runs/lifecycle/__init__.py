"""What people request of runs, the worker, the reconciler, and retention."""
