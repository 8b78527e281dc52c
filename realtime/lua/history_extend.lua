-- Puts older messages below a room's history.
-- KEYS[1] the room's history
-- ARGV[1] version that was read before the messages   ARGV[2] how many messages to keep at most
-- ARGV[3…] number and message, by turns, without gaps
-- Returns 1, or 0 where the history stands for another version, would have a gap or too many messages.
if redis.call('ZRANGE', KEYS[1], 0, 0, 'BYSCORE')[1] ~= ARGV[1] then
  return 0
end
local lowest = redis.call('ZRANGE', KEYS[1], 1, 1, 'WITHSCORES')[2]
local kept = redis.call('ZCARD', KEYS[1]) - 1
if not lowest or tonumber(ARGV[#ARGV - 1]) ~= lowest - 1 or kept + (#ARGV - 2) / 2 > tonumber(ARGV[2]) then
  return 0
end
for i = 3, #ARGV, 2 do
  redis.call('ZADD', KEYS[1], ARGV[i], ARGV[i + 1])
end
return 1
