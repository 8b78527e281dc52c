-- Invalidates a cached value: whoever loads it now may not store it, and who waits for that loads anew.
-- KEYS[1] the cached value
-- KEYS[2] its flight
-- KEYS[3] its wake list
-- ARGV[1] seconds that wake-ups are kept
-- Returns 1 when there was a value, else 0.
for _ = 1, tonumber(redis.call('HGET', KEYS[2], 'waiters') or 0) do
  redis.call('RPUSH', KEYS[3], 1)
end
redis.call('EXPIRE', KEYS[3], ARGV[1])
redis.call('DEL', KEYS[2])
return redis.call('DEL', KEYS[1])
