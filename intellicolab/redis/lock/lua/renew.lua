-- Begins the lease anew, if the caller still holds the lock.
-- KEYS[1] the lock
-- ARGV[1] the caller's token
-- ARGV[2] the lease, in milliseconds
-- Returns 1 when renewed, 0 when the lock is lost.
local held = redis.call('GET', KEYS[1])
if not held or string.sub(held, 1, 32) ~= ARGV[1] then
  return 0
end
redis.call('PEXPIRE', KEYS[1], ARGV[2])
return 1
