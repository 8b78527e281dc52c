"""Why there is no export."""


class DiskFull(Exception):
    """There is no room for the file. Nothing of it is left."""

    def __init__(self, folder: object) -> None:
        super().__init__(f"The disk of {folder} is full, or its quota is used up, so the export was not kept.")


class NotWanted(Exception):
    """Meanwhile it was cancelled, or the person is not in the room any more."""
