"""People who write, change and delete messages without a pause, and the copies that they keep of their room."""

import asyncio
import random
from dataclasses import dataclass, field

from realtime.client import Client, Refused

LONG = 0.1  # of the messages


@dataclass
class Member:
    """One client. `stored` is what the server said is stored: {client id: number}."""

    chat: Client
    room: int
    name: str
    chance: random.Random
    stored: dict[str, int] = field(default_factory=dict)
    refused: list[str] = field(default_factory=list)
    sent: int = 0

    async def write_until(self, over: asyncio.Event) -> None:
        """Return when it is over, and all that was sent is answered."""
        while not over.is_set():
            try:
                await self._act()
            except Refused as refusal:
                self.refused.append(refusal.code)
            await asyncio.sleep(self.chance.uniform(0, 0.6))

    async def _act(self) -> None:
        mine = list(self.stored.values())
        lot = self.chance.random()
        if mine and lot < 0.1:
            await self.chat.edit(self.room, self.chance.choice(mine), f"{self.name} thought again: {lot}")
        elif mine and lot < 0.15:
            await self.chat.delete(self.room, self.chance.choice(mine))
        else:
            await self._say()

    async def _say(self) -> None:
        self.sent += 1
        client_id = f"{self.name}-{self.sent}"
        text = f"message {self.sent} of *{self.name}* "
        if self.chance.random() < LONG:
            text *= 200  # a few of them fill what may wait for somebody who does not read
        answer = await self.chat.send(self.room, text, client_id)
        self.stored[client_id] = answer["number"]
