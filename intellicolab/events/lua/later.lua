-- Puts entries of a group off: they stay its pending entries, and `claim` takes them when their time has come.
-- KEYS[1] the group's tries to come
-- ARGV[...] entry id and ms from now, by turns
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
for at = 1, #ARGV, 2 do
  redis.call('ZADD', KEYS[1], now + ARGV[at + 1], ARGV[at])
end
