-- Stores a value, if the flight is still its loader's or writer's: else an invalidation or another write came between.
-- A writer that lost its flight cannot know whose value is the newer, so it has the next reader load.
-- KEYS[1] the cached value
-- KEYS[2] its flight
-- KEYS[3] its wake list
-- ARGV[1] the token
-- ARGV[2] how long the value is fresh, in milliseconds
-- ARGV[3] how long it is kept, in milliseconds
-- ARGV[4] how long it took to load, in seconds
-- ARGV[5] stamps of its tags
-- ARGV[6] number of its tags
-- ARGV[7] the encoded value
-- ARGV[8] seconds that wake-ups are kept
-- ARGV[9] 1 when a writer stores, else 0
-- Returns 1 when stored, else 0.
local flight = redis.call('HMGET', KEYS[2], 'token', 'waiters')
local ours = flight[1] == ARGV[1]
if not ours and ARGV[9] == '0' then
  return 0
end
for _ = 1, tonumber(flight[2] or 0) do
  redis.call('RPUSH', KEYS[3], 1)
end
redis.call('EXPIRE', KEYS[3], ARGV[8])
redis.call('DEL', KEYS[2])
if not ours then
  redis.call('DEL', KEYS[1])
  return 0
end
local time = redis.call('TIME')
local fresh_until = time[1] + time[2] / 1e6 + ARGV[2] / 1e3
local header = struct.pack('>BBdf', 1, tonumber(ARGV[6]), fresh_until, tonumber(ARGV[4]))
redis.call('SET', KEYS[1], header .. ARGV[5] .. ARGV[7], 'PX', ARGV[3])
return 1
