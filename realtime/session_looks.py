"""Whether the sessions behind this process's sockets are still there, asked from time to time.

News of a session's end comes sooner; but it may be lost, and of a session that runs out nobody tells.
"""

import asyncio
import logging

from accounts import sessions
from accounts.sessions import SessionUnavailable
from intellicolab.threads import run

from .errors import SIGNED_OUT
from .topics import Topics

logger = logging.getLogger("realtime")

LOOK_SECONDS = 4.0


class SessionLooks:
    """A task of its own: while Redis hangs, this waits for it, and the healing from the database must not."""

    def __init__(self, topics: Topics) -> None:
        self._topics = topics

    async def keep(self) -> None:
        while True:
            await asyncio.sleep(LOOK_SECONDS)
            try:
                await self.look()
            except SessionUnavailable as error:
                logger.debug("The sessions of open sockets can't be looked at: %s", error)  # nobody is signed out by it
            except Exception:  # a fault of ours must not let ended sessions listen for good
                logger.exception("The sessions of open sockets can't be looked at")

    async def look(self) -> None:
        """Close sockets whose session is over. Raises SessionUnavailable."""
        people = self._topics.people().values()
        opened = {outlet.session for person in people for outlet in person.outlets if outlet.session}
        if not opened:
            return
        gone = await run(sessions.missing, opened)
        for person in people:
            person.hang_up(gone, SIGNED_OUT)
