"""`python -m tests.patiently ARGUMENT…` is `status-gateway ARGUMENT…` with more patience.

For tests of what happens within two seconds, which a machine that stands still for a moment would miss: before the
command of `run` begins without the gateway's word, before a server is ended hard after a second Ctrl-C, and between
the first and the last farewell to its streams.
"""

import sys

from gateway import server
from gateway.cli import main
from gateway.runner import life

PATIENCE = 30.0  # seconds


def be_patient() -> None:
    """Set these limits in this process."""
    vars(server)["FORCED_PATIENCE"] = vars(life)["PATIENCE"] = PATIENCE
    vars(server)["FAREWELL_SECONDS"] = 2 * PATIENCE


if __name__ == "__main__":
    be_patient()
    sys.exit(main())
