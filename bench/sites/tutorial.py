"""The peer of bench/chat.py: the chat of Channels' tutorial, as its pages build it: a group a room, nothing stored.

Run with `REDIS_URL` and `PORT`: `python -m bench.sites.tutorial daphne|uvicorn`. The consumer joins a group of the
channel layer for each socket, and each message is encoded and sent once a socket.
"""

import json
import os
import sys

import django
from channels.generic.websocket import AsyncWebsocketConsumer
from channels.routing import ProtocolTypeRouter, URLRouter
from django.conf import settings
from django.urls import path

settings.configure(
    SECRET_KEY="bench",
    INSTALLED_APPS=["channels"],
    CHANNEL_LAYERS={
        "default": {
            # The tutorial's core layer drops messages here: on redis-py 8 its pool holds 100 connections, and each
            # waiting socket takes one. The pub/sub layer serves the tutorial's code better than its own choice.
            "BACKEND": "channels_redis.pubsub.RedisPubSubChannelLayer",
            "CONFIG": {"hosts": [os.environ["REDIS_URL"]]},
        }
    },
)
django.setup()


class TutorialConsumer(AsyncWebsocketConsumer):
    async def connect(self):
        await self.channel_layer.group_add("chat_room", self.channel_name)
        await self.accept()

    async def disconnect(self, code):
        await self.channel_layer.group_discard("chat_room", self.channel_name)

    async def receive(self, text_data):
        message = json.loads(text_data)["message"]
        await self.channel_layer.group_send("chat_room", {"type": "chat.message", "message": message})

    async def chat_message(self, event):
        await self.send(text_data=json.dumps({"message": event["message"]}))


application = ProtocolTypeRouter({"websocket": URLRouter([path("ws/", TutorialConsumer.as_asgi())])})


def main(server: str, port: int) -> None:
    if server == "daphne":
        from daphne.server import Server

        Server(application, endpoints=[f"tcp:port={port}:interface=127.0.0.1"], ping_interval=3600).run()
    else:
        import uvicorn

        uvicorn.run(
            application, host="127.0.0.1", port=port, log_level="warning", ws="websockets-sansio",
            ws_per_message_deflate=False, lifespan="off",
        )  # fmt: skip


if __name__ == "__main__":
    main(sys.argv[1], int(os.environ["PORT"]))
