"""The common parts of every process: settings, logs, metrics, traces, and background tasks."""
