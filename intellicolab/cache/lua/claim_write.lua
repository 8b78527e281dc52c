-- Claims the flight of a value that a transaction is about to change: whoever loads it now must not store it.
-- KEYS[1] the flight
-- KEYS[2] its wake list
-- ARGV[1] the writer's token
-- ARGV[2] the lease, in milliseconds
-- ARGV[3] seconds that wake-ups are kept
-- Returns 1.
for _ = 1, tonumber(redis.call('HGET', KEYS[1], 'waiters') or 0) do
  redis.call('RPUSH', KEYS[2], 1)
end
redis.call('EXPIRE', KEYS[2], ARGV[3])
redis.call('DEL', KEYS[1])
redis.call('HSET', KEYS[1], 'token', ARGV[1], 'writer', 1)
redis.call('PEXPIRE', KEYS[1], ARGV[2])
return 1
