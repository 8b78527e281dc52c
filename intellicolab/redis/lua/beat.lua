-- Notes that a worker lives; those that have fallen silent leave the index.
-- KEYS[1] the index of workers
-- KEYS[2] what this one says of itself
-- ARGV[1] its id
-- ARGV[2] ms for which that counts
-- ARGV[3] what it says
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
redis.call('ZADD', KEYS[1], now + ARGV[2], ARGV[1])
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', now)
redis.call('PEXPIRE', KEYS[1], ARGV[2])
redis.call('SET', KEYS[2], ARGV[3], 'PX', ARGV[2])
