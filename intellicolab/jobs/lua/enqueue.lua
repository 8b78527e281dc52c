-- Stores jobs and puts them where they wait: in their queue's stream, or until a time, or until others have ended.
-- KEYS[1] unique jobs: digest → id
-- KEYS[2] position of the last outbox row that was carried
-- KEYS[3] the highest fencing number that has carried
-- KEYS[4] jobs to be cancelled
-- KEYS[5...] four keys a route, one route for each queue and priority: the stream, the queue's scheduled jobs, its
--   priorities, its bell
-- KEYS[...] the record of each job
-- ARGV[1] how many routes
-- ARGV[2] the fencing number of who carries rows of the outbox, 0 for everybody else
-- ARGV[3] the position after which those rows follow
-- ARGV[4] the position of the last of them, which may be no job
-- ARGV[5] how many jobs a stream may hold, and as many may be scheduled
-- ARGV[6...] the priority of each route
-- ARGV[...] seven a job: route (from 0), id, payload, when (ms; 0 at once, -1 not before all of its batch have ended),
--   unique digest or '' (it begins with an s where the job is unique until it starts), jobs of its batch, position or 0
-- Returns {what, last position, ids}: what is 'ok', 'stale', 'lost' or 'full', and nothing was stored but with 'ok'.
-- ids has for each job its own, or that of the one that is unique in its place.
local routes, fence = tonumber(ARGV[1]), tonumber(ARGV[2])
local last = 0
if fence > 0 then
  last = tonumber(redis.call('GET', KEYS[2]) or 0)
  if fence < tonumber(redis.call('GET', KEYS[3]) or 0) then
    return {'stale', last}
  end
  redis.call('SET', KEYS[3], fence)
  if last < tonumber(ARGV[3]) then
    return {'lost', last}
  end
end
for route = 0, routes - 1 do
  local most = tonumber(ARGV[5])
  if redis.call('XLEN', KEYS[5 + 4 * route]) >= most or redis.call('ZCARD', KEYS[6 + 4 * route]) >= most then
    return {'full', last}
  end
end

local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local ids, rings = {}, {}

-- Whether the job is to wait by itself: not when it is there already, or another one in its place.
local function store(record, id, payload, state, unique)
  if redis.call('EXISTS', record) == 1 then
    return false
  end
  if unique ~= '' then
    local other = redis.call('HGET', KEYS[1], unique)
    if other then
      redis.call('HSET', record, 'same', other)
      redis.call('EXPIRE', record, 86400)
      return false
    end
    redis.call('HSET', KEYS[1], unique, id)
    if string.sub(unique, 1, 1) == 's' then
      redis.call('HSET', record, 'u', unique)
    end
  end
  redis.call('HSET', record, 'd', payload, 's', state)
  return true
end

local function wait(route, id, due)
  local scheduled = KEYS[6 + 4 * route]
  if due <= now then
    redis.call('XADD', KEYS[5 + 4 * route], '*', 'j', id)
    rings[KEYS[8 + 4 * route]] = true
    return
  end
  local first = redis.call('ZRANGE', scheduled, 0, 0, 'WITHSCORES')[2]
  redis.call('ZADD', scheduled, due, id .. ':' .. ARGV[6 + route])
  if not first or due < tonumber(first) then
    rings[KEYS[8 + 4 * route]] = true -- who sleeps until the first of them must sleep for a shorter time
  end
end

for route = 0, routes - 1 do
  redis.call('SADD', KEYS[7 + 4 * route], ARGV[6 + route])
end
local job = 0
for at = 6 + routes, #ARGV, 7 do
  job = job + 1
  local route, id, due, position = tonumber(ARGV[at]), ARGV[at + 1], tonumber(ARGV[at + 3]), tonumber(ARGV[at + 6])
  ids[job] = id
  if position == 0 or position > last then
    local record = KEYS[4 + 4 * routes + job]
    if position > 0 and redis.call('SISMEMBER', KEYS[4], id) == 1 then
      if store(record, id, ARGV[at + 2], 'cancelled', '') then
        wait(route, id, 0) -- for a worker that has it end: its time may be far, and it must not take another's place
      end
    elseif not store(record, id, ARGV[at + 2], due == -1 and 'held' or 'ready', ARGV[at + 4]) then
      ids[job] = redis.call('HGET', record, 'same') or id
    elseif due == -1 then
      redis.call('HSET', record, 'i', id, 'left', ARGV[at + 5])
    else
      wait(route, id, due)
    end
    if position > 0 then
      last = position
    end
  end
end
if fence > 0 then
  last = math.max(last, tonumber(ARGV[4]))
  redis.call('SET', KEYS[2], last)
end
for bell in pairs(rings) do
  if redis.call('LLEN', bell) == 0 then
    redis.call('LPUSH', bell, 1)
  end
end
return {'ok', last, ids}
