"""Why there is no export."""

from intellicolab.jobs.errors import NonRetryable


class DiskFull(NonRetryable):
    """There is no room for the file. Nothing of it is left. No further try is made: seconds later it is as full."""

    def __init__(self, folder: object) -> None:
        super().__init__(f"The disk of {folder} is full, or its quota is used up, so the export was not kept.")


class NotWanted(Exception):
    """Meanwhile it was cancelled, or the person is not in the room any more."""
