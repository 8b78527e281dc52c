-- Takes a room's history on by consecutive versions, if it stands for the one before them, or for one of them but the
-- last. Keeps its time to live.
-- KEYS[1] the room's history
-- ARGV[1] first version   ARGV[2] last version   ARGV[3] how many messages to keep
-- ARGV[4…] number and message, by turns: those that the versions made or changed, as they are at the last or later
-- Returns 1, or 0 where there is no history, versions between are missing, or all of them are in it.
local version = redis.call('ZRANGE', KEYS[1], 0, 0, 'BYSCORE')[1]
local stands = tonumber(version or '')
if not stands or stands < ARGV[1] - 1 or stands >= tonumber(ARGV[2]) then
  return 0
end
local lowest = tonumber(redis.call('ZRANGE', KEYS[1], 1, 1, 'WITHSCORES')[2] or 1)
for i = 4, #ARGV, 2 do
  if tonumber(ARGV[i]) >= lowest then
    redis.call('ZREMRANGEBYSCORE', KEYS[1], ARGV[i], ARGV[i])
    redis.call('ZADD', KEYS[1], ARGV[i], ARGV[i + 1])
  end
end
-- The version first, so that the set is never empty: with its last member its time to live would go.
redis.call('ZADD', KEYS[1], 0, ARGV[2])
redis.call('ZREM', KEYS[1], version)
redis.call('ZREMRANGEBYRANK', KEYS[1], 1, -(ARGV[3] + 1))
return 1
