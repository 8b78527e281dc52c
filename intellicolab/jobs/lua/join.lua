#!lua flags=allow-oom
-- Makes a worker one of a queue's, or ends that.
-- Runs on a server that is out of memory, too: jobs that end give memory back.
-- KEYS[1] the queue's workers, by the end of their lease (ms)
-- KEYS[2] its workers that are gone, whose jobs are anybody's
-- KEYS[3] its bell
-- ARGV[1] the worker
-- ARGV[2] its lease (ms); 0 to leave
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
if ARGV[2] ~= '0' then
  redis.call('ZADD', KEYS[1], now + ARGV[2], ARGV[1])
else
  redis.call('ZREM', KEYS[1], ARGV[1])
  redis.call('ZADD', KEYS[2], now, ARGV[1])
  if redis.call('LLEN', KEYS[3]) == 0 then
    redis.call('LPUSH', KEYS[3], 1)
  end
end
