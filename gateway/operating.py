"""The commands of whoever operates a gateway: `serve` and `backup`."""

import argparse
import os
import sys
from pathlib import Path
from typing import Final

import orjson

from gateway import server
from gateway.app import create_app
from gateway.errors import LogUnusable
from gateway.eventlog import backup as copying
from gateway.settings import SettingsError, load

EXIT_FAILED: Final = 1
EXIT_USAGE: Final = 2


def serve(options: argparse.Namespace) -> int:
    """Run the gateway until a signal ends it."""
    try:
        settings = load(vars(options), os.environ)
    except SettingsError as error:
        sys.stderr.write(f"status-gateway: {error}\n")
        return EXIT_USAGE
    return server.serve(create_app(settings), settings)


def backup(options: argparse.Namespace) -> int:
    """Copy the database while the gateway may go on writing."""
    try:
        copying.backup(options.database, options.file)
    except LogUnusable as error:
        sys.stderr.write(f"status-gateway: {error}\n")
        return EXIT_FAILED
    size = Path(options.file).stat().st_size
    if options.json:
        sys.stdout.buffer.write(orjson.dumps({"file": options.file, "bytes": size}) + b"\n")
    else:
        sys.stderr.write(f"status-gateway: {options.database} was copied to {options.file}, {size} bytes\n")
    return 0
