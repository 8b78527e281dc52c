-- Counts one more who waits for a flight, so that its end wakes them, too.
-- KEYS[1] the flight
-- ARGV[1] the token of who holds it, as the waiter knows it
-- Returns the milliseconds that the flight's lease has left; 0 when it is over.
if redis.call('HGET', KEYS[1], 'token') ~= ARGV[1] then
  return 0
end
redis.call('HINCRBY', KEYS[1], 'waiters', 1)
return math.max(redis.call('PTTL', KEYS[1]), 1)
