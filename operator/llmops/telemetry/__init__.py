"""telemetry: every metric's name and sentence once (metrics.py); docs/reference/metrics.md is generated from there."""
