-- Claims the flight of a value that a transaction is about to change: whoever loads it now must not store it.
-- The value that is there lives no longer than the claim: a writer that dies between its commit and the store leaves
-- the old one behind for that long, and not for the rest of its time to live.
-- KEYS[1] the cached value
-- KEYS[2] its flight
-- KEYS[3] its wake list
-- ARGV[1] the writer's token
-- ARGV[2] the lease, in milliseconds
-- ARGV[3] seconds that wake-ups are kept
-- Returns 1.
for _ = 1, tonumber(redis.call('HGET', KEYS[2], 'waiters') or 0) do
  redis.call('RPUSH', KEYS[3], 1)
end
redis.call('EXPIRE', KEYS[3], ARGV[3])
redis.call('DEL', KEYS[2])
redis.call('HSET', KEYS[2], 'token', ARGV[1], 'writer', 1)
redis.call('PEXPIRE', KEYS[2], ARGV[2])
redis.call('PEXPIRE', KEYS[1], ARGV[2], 'LT')
return 1
