"""The status gateway: a job's status is reported once, kept durably, read now, and pushed to whoever waits."""

__version__ = "0.1.0"
