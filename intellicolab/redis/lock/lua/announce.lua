-- Notes a held lock in the index that the dashboard reads; ended leases leave it.
-- KEYS[1] the index
-- ARGV[1] the lock's name
-- ARGV[2] its lease, in milliseconds
-- ARGV[3] how many locks the index holds at most
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
redis.call('ZADD', KEYS[1], now + ARGV[2], ARGV[1])
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', now)
redis.call('ZREMRANGEBYRANK', KEYS[1], 0, -1 - ARGV[3])
local last = redis.call('ZRANGE', KEYS[1], -1, -1, 'WITHSCORES')
redis.call('PEXPIREAT', KEYS[1], tonumber(last[2]))
