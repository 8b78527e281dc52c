"""The cache's scripts."""

from pathlib import Path

from intellicolab.redis.scripts import load

_FOLDER = Path(__file__).resolve().parent

claim = load(_FOLDER, "claim")
claim_write = load(_FOLDER, "claim_write")
store = load(_FOLDER, "store")
release = load(_FOLDER, "release")
forget = load(_FOLDER, "forget")
join = load(_FOLDER, "join")
stamp = load(_FOLDER, "stamp")
time = load(_FOLDER, "time")
