-- Begins a room's history with its newest messages, unless there is one that is as new.
-- KEYS[1] the room's history
-- ARGV[1] version that was read before the messages   ARGV[2] seconds to live
-- ARGV[3…] number and message, by turns
-- Returns 1, or 0 where what is there stands for this version or a later one: a reader that was held up comes late.
local version = redis.call('ZRANGE', KEYS[1], 0, 0, 'BYSCORE')[1]
if (tonumber(version or '') or -1) >= tonumber(ARGV[1]) then
  return 0
end
redis.call('DEL', KEYS[1])
redis.call('ZADD', KEYS[1], 0, ARGV[1])
for i = 3, #ARGV, 2 do
  redis.call('ZADD', KEYS[1], ARGV[i], ARGV[i + 1])
end
redis.call('EXPIRE', KEYS[1], ARGV[2])
return 1
