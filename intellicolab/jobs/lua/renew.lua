#!lua flags=allow-oom
-- Renews a worker's lease of a queue.
-- Runs on a server that is out of memory, too: a lease that ends there would have its jobs run again.
-- KEYS[1] the queue's workers, by the end of their lease (ms)
-- KEYS[2] jobs to be cancelled
-- ARGV[1] the worker
-- ARGV[2] the lease (ms)
-- ARGV[3...] the jobs that it runs
-- Returns {whether it still had it, those of its jobs that are to be cancelled}
if not redis.call('ZSCORE', KEYS[1], ARGV[1]) then
  return {0, {}}
end
local time = redis.call('TIME')
redis.call('ZADD', KEYS[1], time[1] * 1000 + math.floor(time[2] / 1000) + ARGV[2], ARGV[1])
local found = {}
if redis.call('EXISTS', KEYS[2]) == 1 then
  for at = 3, #ARGV do
    if redis.call('SISMEMBER', KEYS[2], ARGV[at]) == 1 then
      found[#found + 1] = ARGV[at]
    end
  end
end
return {1, found}
