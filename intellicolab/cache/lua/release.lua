-- Gives a flight up whose loader or writer failed. With a pause it stays closed for that long: a background refresh
-- that fails must not be tried again by the very next reader.
-- KEYS[1] the flight
-- KEYS[2] its wake list
-- ARGV[1] the token
-- ARGV[2] the pause, in milliseconds
-- ARGV[3] seconds that wake-ups are kept
-- Returns 1 when the flight was still the caller's, else 0.
local flight = redis.call('HMGET', KEYS[1], 'token', 'waiters')
if flight[1] ~= ARGV[1] then
  return 0
end
for _ = 1, tonumber(flight[2] or 0) do
  redis.call('RPUSH', KEYS[2], 1)
end
redis.call('EXPIRE', KEYS[2], ARGV[3])
if tonumber(ARGV[2]) > 0 then
  redis.call('HDEL', KEYS[1], 'waiters')
  redis.call('PEXPIRE', KEYS[1], ARGV[2])
else
  redis.call('DEL', KEYS[1])
end
return 1
