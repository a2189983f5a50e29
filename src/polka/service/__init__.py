"""What every process needs: settings, logs, metrics, traces, and background tasks."""
