"""What a power cut must not take back."""

import os
from pathlib import Path


def sync(path: Path) -> None:
    """Have a file on the disk; of a folder the names in it. Raises OSError."""
    opened = os.open(path, os.O_RDONLY)
    try:
        os.fsync(opened)
    finally:
        os.close(opened)
