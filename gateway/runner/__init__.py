"""`status-gateway run`: runs any command as a job."""

from gateway.runner.life import Plan, run

__all__ = ["Plan", "run"]
