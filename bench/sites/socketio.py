"""A peer of bench/chat.py: python-socketio with its Redis manager, on uvicorn. One room, nothing stored.

Run with `REDIS_URL` and `PORT`: `python -m bench.sites.socketio`.
"""

import os

import socketio
import uvicorn

server = socketio.AsyncServer(
    async_mode="asgi",
    client_manager=socketio.AsyncRedisManager(os.environ["REDIS_URL"]),
    cors_allowed_origins="*",
    transports=["websocket"],
)


@server.event
async def connect(sid: str, environ: dict, auth: object) -> None:
    await server.enter_room(sid, "room")


@server.event
async def message(sid: str, text: str) -> None:
    await server.emit("message", text, to="room")


if __name__ == "__main__":
    uvicorn.run(
        socketio.ASGIApp(server), host="127.0.0.1", port=int(os.environ["PORT"]), log_level="warning",
        ws="websockets-sansio", ws_per_message_deflate=False, lifespan="off",
    )  # fmt: skip
