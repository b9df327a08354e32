"""The main job, end to end, on a real cluster: what `make demo` runs and tells, and what the tests run and check."""
