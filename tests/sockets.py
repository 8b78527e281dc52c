"""The chat socket as a client sees it."""

import asyncio
import json

from channels.testing import WebsocketCommunicator

HOST = "testserver"
WAIT = 10


class Socket(WebsocketCommunicator):
    async def hello(self):
        assert (await self.connect(timeout=WAIT))[0]
        return await self.frame("hello")

    async def frame(self, kind):
        """The next frame of this type; others before it are passed over."""
        while True:
            frame = json.loads(await self.receive_from(timeout=WAIT))
            if frame["type"] == kind:
                return frame

    async def hears_nothing(self, seconds):
        """Whether nothing comes in this time; who came and who went is passed over, as it may be told at any time."""
        try:
            async with asyncio.timeout(seconds):
                while json.loads(await self.receive_from(timeout=WAIT))["type"] == "presence":
                    pass
        except TimeoutError:
            return True
        return False

    async def say(self, room, text, frame_id="id-1"):
        await self.send_json_to({"type": "message.send", "id": frame_id, "room": room.pk, "text": text})

    async def send_json_to(self, frame):
        await self.send_to(text_data=json.dumps(frame))

    async def closed_with(self):
        while True:
            output = await self.receive_output(WAIT)
            if output["type"] == "websocket.close":
                return output.get("code")
