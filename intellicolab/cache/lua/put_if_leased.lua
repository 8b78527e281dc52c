-- Stores a loaded value, unless its lease is gone: then an invalidation came while it was loaded, and it may be old.
-- KEYS[1] the cached key, which holds the lease
-- ARGV[1] the lease as it was left there
-- ARGV[2] the value to store
-- ARGV[3] its time to live, in seconds
-- Returns 1 when stored, else 0.
if redis.call('GET', KEYS[1]) ~= ARGV[1] then
  return 0
end
redis.call('SET', KEYS[1], ARGV[2], 'EX', ARGV[3])
return 1
