"""A person's devices: one a session, with the browser, the address and when it was last used.

What is known of a device lies beside the session and goes with it. A session that was made before there was a list,
or whose entry was lost, comes onto it with its next request.
"""

import logging
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from intellicolab.redis import keys, scripts
from intellicolab.redis.client import Role, client

from . import sessions
from .browsers import UNKNOWN, described
from .noted import Noted
from .sessions import SessionUnavailable, outages_told

logger = logging.getLogger("accounts")

NOTE_SECONDS = 60  # "last active" is exact to this, so that use costs no write a request
MAX_SESSIONS = 100  # a person; one more ends the one that was used least recently

_touch = scripts.load(Path(__file__).parent, "touch_device")
_noted = Noted(NOTE_SECONDS)


@dataclass(frozen=True, slots=True)
class Device:
    """One signed-in browser. `session` is the hash of its key; `seen` is None until its first request is noted."""

    session: str
    browser: str
    address: str
    seen: datetime | None
    is_current: bool = False


def of(user_id: int, current: str | None = None) -> list[Device]:
    """The person's signed-in devices: this one first, then the last used. Raises SessionUnavailable.

    Sessions that are over are struck off the list by the way.
    """
    with outages_told():
        listed = _listed(user_id)
        answers = _looked_up(user_id, listed)
    gone = [session for session, (there, _) in answers.items() if not there]
    sessions.strike(user_id, gone)
    found = [_device(session, fields, current) for session, (there, fields) in answers.items() if there]
    return sorted(found, key=lambda device: (not device.is_current, -_when(device), device.session))


def end_one(user_id: int, session: str) -> bool:
    """Sign one device of this person out. False when it was not, or no longer, signed in as them."""
    with outages_told():
        theirs = client(Role.STATE).sismember(keys.sessions_of(user_id), session)
    return bool(theirs) and sessions.end(user_id, [session]) > 0


def end_all(user_id: int, keep: str | None = None) -> int:
    """Sign all devices of a person out, but for the session `keep`; how many. Raises SessionUnavailable."""
    with outages_told():
        listed = _listed(user_id)
    return sessions.end(user_id, [session for session in listed if session != keep])


def touch(user_id: int, session: str, user_agent: str, address: str) -> None:
    """Note that a signed-in session (hash) is in use. An outage is passed over: it costs a note, not the answer."""
    if not _noted.is_due(session):
        return
    try:
        with outages_told():
            count = _note(user_id, session, user_agent, address)
        if count > MAX_SESSIONS:
            _end_oldest(user_id, session)
    except SessionUnavailable as error:
        logger.debug("The use of a session could not be noted: %s", error)


def _note(user_id: int, session: str, user_agent: str, address: str) -> int:
    redis = client(Role.STATE)
    left: Any = redis.pttl(sessions.name_of(session))
    if left <= 0:  # ended a moment ago: its address must not outlive it
        return 0
    names = [keys.sessions_of(user_id), keys.device(user_id, session)]
    count = int(_touch(redis, names, [session, described(user_agent), address, left, NOTE_SECONDS]))
    if count and not redis.exists(sessions.name_of(session)):  # ended in between, and its entry before this one
        sessions.strike(user_id, [session])
    return count


def _end_oldest(user_id: int, current: str) -> None:
    surplus = of(user_id, current)[MAX_SESSIONS:]
    sessions.end(user_id, [device.session for device in surplus])


def _looked_up(user_id: int, listed: list[str]) -> dict[str, tuple[bool, dict[str, str]]]:
    """{session: (whether it is there, what is known of its device)}, in one pipeline."""
    pipeline = client(Role.STATE).pipeline(transaction=False)
    for session in listed:
        pipeline.exists(sessions.name_of(session))
        pipeline.hgetall(keys.device(user_id, session))
    answers = pipeline.execute()
    return {
        session: (bool(there), {key.decode(): value.decode() for key, value in fields.items()})
        for session, there, fields in zip(listed, answers[::2], answers[1::2], strict=True)
    }


def _listed(user_id: int) -> list[str]:
    names: Any = client(Role.STATE).smembers(keys.sessions_of(user_id))
    return [name.decode() for name in names]


def _device(session: str, fields: dict[str, str], current: str | None) -> Device:
    seen = datetime.fromtimestamp(int(fields["seen"]), UTC) if "seen" in fields else None
    browser, address = fields.get("browser", UNKNOWN), fields.get("address", "")
    return Device(session, browser, address, seen, session == current)


def _when(device: Device) -> float:
    return device.seen.timestamp() if device.seen else 0.0
