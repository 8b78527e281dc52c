"""What bench/chat.py compares with as a limit: a C server (picows) that writes what it is told to all, and no more.

Run with `PORT`: `python -m bench.sites.echo`. No Redis, nothing stored, one write a socket and message.
"""

import asyncio
import logging
import os

import uvloop
from picows import WSFrame, WSListener, WSMsgType, WSTransport, WSUpgradeRequest, ws_create_server

room: set[WSTransport] = set()


class Echo(WSListener):
    def on_ws_connected(self, transport: WSTransport) -> None:
        room.add(transport)

    def on_ws_disconnected(self, transport: WSTransport) -> None:
        room.discard(transport)

    def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
        if frame.msg_type == WSMsgType.TEXT:
            payload = frame.get_payload_as_bytes()
            for member in room:
                member.send(WSMsgType.TEXT, payload)


def listener(request: WSUpgradeRequest) -> Echo:
    return Echo()


async def main() -> None:
    server = await ws_create_server(listener, "127.0.0.1", int(os.environ["PORT"]), backlog=2048)
    await server.serve_forever()


if __name__ == "__main__":
    logging.disable()  # else a line for each write to a socket of a crowd that has left
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(main())
