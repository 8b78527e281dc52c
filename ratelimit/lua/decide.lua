-- Decide on all rules that apply to a request, in one call: each is looked at, and charged only if every one that is
-- enforced admits. What is refused costs nobody anything.
-- KEYS[i]    the state of rule i for its identity (a packed string; leases are a sorted set)
-- ARGV[1]    "hit"; "peek", which changes nothing; "refund", which takes a charge back
-- ARGV[i+1]  rule i, big-endian: algorithm (B), 1 if it is in shadow mode (B), then as doubles: cost, limit, window in
--            microseconds, rate and unit (each unit of time, a microsecond, gives `rate` of the `unit` parts of one
--            request); then, for leases, the lease's name
-- Returns for each rule, one after the other: 1 if it admits (B), then as whole numbers of 8 bytes the requests left,
-- the microseconds until the cost (once charged: until one request) is admitted, -1 for never, and those until nothing
-- is used any more.
--
-- The clock is the server's own. When it was set back, no state may lie in the future: it would hold everybody up
-- until the clock has caught up. So what is found there is moved to now, and written down even by a refusal.
-- All numbers are whole and below 2^53, where doubles are exact; no fraction of a request is lost or gained.
--
-- A script is run from its first line at each call, and making its functions and tables takes longer than all that they
-- compute. So a rule's state stays in locals, and an algorithm is made only when a rule needs it.
local FIXED_WINDOW, SLIDING_WINDOW, TOKEN_BUCKET, LEASES = 1, 2, 3, 5
local NEVER, KEPT = -1, 0
local NAME = 43  -- where a rule's numbers end, and the lease's name begins

local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]

-- What is done of a change: there is no room to add, or nothing to take back from.
local function possible(change, wait, stored)
  if change > 0 and wait > 0 or change < 0 and not stored then return 0 end
  return change
end

-- An algorithm brings a rule's state to now and changes it: by the cost if that is admitted, or by what a refund takes
-- back. It returns the wait for the cost; as changed, the requests left, the wait for the next one, and for nothing to
-- be used; and what to write, false for nothing, with its lifetime in microseconds, or KEPT as it is.
local function algorithm(number)
  if number == FIXED_WINDOW then

    -- Begins with its first request. {start, used, window}
    return function(key, change, cost, limit, window)
      local stored = redis.call('GET', key)
      local start, used, moved, kept = now, 0, false, false
      if stored then
        local began, count, length = struct.unpack('>ddd', stored)
        moved = began > now
        if began + window > now then
          start, used, kept = math.min(began, now), count, not moved and length == window
        end
      end
      local ends = start + window - now
      local wait = used + cost <= limit and 0 or ends
      change = possible(change, wait, stored)
      used = math.max(0, used + change)
      local again = change == 0 and wait or used + 1 <= limit and 0 or ends
      local value = (change ~= 0 or moved) and struct.pack('>ddd', start, used, window)
      return wait, math.max(0, limit - used), again, used > 0 and ends or 0, value, kept and KEPT or ends
    end

  elseif number == SLIDING_WINDOW then

    -- Microseconds of a window that must pass until a count from the window before it weighs `room` or less.
    local function fade(count, room, window)
      if count <= room then return 0 end
      local passed = math.ceil(window - room * window / count)
      if count * (window - passed) > room * window then passed = passed + 1 end
      return passed
    end

    -- Until `most` or less is used of a sliding window.
    local function slide(used, before, most, passed, window)
      if used > most then return window - passed + fade(used, most, window) end
      return math.max(0, fade(before, most - used, window) - passed)
    end

    -- The window before counts by the share of it that lies within the last window's length. Windows begin at multiples
    -- of their length. {start, used, before, window in milliseconds}
    return function(key, change, cost, limit, window)
      local stored = redis.call('GET', key)
      local passed = math.fmod(now, window)
      local start, used, before, moved, kept = now - passed, 0, 0, false, false
      if stored then
        local began, count, earlier, length = struct.unpack('>dddI4', stored)
        moved = began > start
        if began >= start then
          used, before, kept = count, earlier, not moved and length * 1000 == window
        elseif began + window >= start then
          before = count
        end
      end
      local wait = slide(used, before, limit - cost, passed, window)
      change = possible(change, wait, stored)
      used = math.max(0, used + change)
      local again = change == 0 and wait or slide(used, before, limit - 1, passed, window)
      local ahead = window - passed
      local left = math.max(0, math.floor(limit - used - before * ahead / window))
      local reset = used > 0 and ahead + window or before > 0 and ahead or 0
      local value = (change ~= 0 or moved) and struct.pack('>dddI4', start, used, before, window / 1000)
      return wait, left, again, reset, value, kept and KEPT or ahead + window
    end

  elseif number == LEASES then

    -- A sorted set: who holds a lease, and when it ends unless it is renewed; `window` is how long that is. Who holds
    -- one may always renew it. What to write is a function here, which returns the answer's three numbers anew.
    return function(key, change, cost, limit, window, rate, unit, packed)
      local lease = string.sub(packed, NAME)

      -- A bound of a range of scores: later than this. (Lua itself would write the number with 14 digits.)
      local function after(microseconds)
        return string.format('(%.0f', microseconds)
      end

      local function look()
        local used = redis.call('ZCOUNT', key, after(now), '+inf')
        local last = redis.call('ZRANGE', key, -1, -1, 'WITHSCORES')[2] or now
        return used, math.max(0, limit - used), math.max(0, math.min(last - now, window))
      end

      local function wait_for(used, cost)
        local over = used + cost - limit
        if over <= 0 then return 0 end
        local ends = redis.call('ZRANGEBYSCORE', key, after(now), '+inf', 'WITHSCORES', 'LIMIT', over - 1, 1)
        return math.min(ends[2] - now, window)
      end

      local function renew()
        redis.call('ZREMRANGEBYSCORE', key, '-inf', now)
        for _, early in ipairs(redis.call('ZRANGEBYSCORE', key, after(now + window), '+inf')) do
          redis.call('ZADD', key, now + window, early)
        end
        if change > 0 then redis.call('ZADD', key, now + window, lease) end
        redis.call('PEXPIRE', key, math.ceil(window / 1000) + 1)
      end

      local used, left, reset = look()
      local held = tonumber(redis.call('ZSCORE', key, lease) or now) > now
      local wait = cost > limit and NEVER or held and 0 or wait_for(used, cost)
      local moved = redis.call('ZCOUNT', key, after(now + window), '+inf') > 0
      change = possible(change, wait, true)

      local function write()
        if change < 0 then redis.call('ZREM', key, lease) else renew() end
        local used, left, reset = look()
        return left, change == 0 and wait or wait_for(used, 1), reset
      end

      return wait, left, wait, reset, (change ~= 0 or moved) and write
    end

  end

  -- Quotient and rest of whole numbers; a plain division of large ones rounds, sometimes up to the next quotient.
  local function divide(a, b)
    local rest = math.fmod(a, b)
    return (a - rest) / b, rest
  end

  local function divide_up(a, b)
    local quotient, rest = divide(a, b)
    return rest > 0 and quotient + 1 or quotient
  end

  -- Token bucket and GCRA: `used` is what is missing from a full bucket, in parts of a request; it shrinks by the rate.
  -- Returns whether it was changed, what it is then, and the first four of what an algorithm returns.
  local function refilled(stored, used, change, cost, limit, rate, unit)
    local wait = math.max(0, divide_up(used + (cost - limit) * unit, rate))
    local again = wait
    change = possible(change, wait, stored)
    if change ~= 0 then
      used = math.max(0, used + change * unit)
      again = math.max(0, divide_up(used + (1 - limit) * unit, rate))
    end
    return change ~= 0, used, wait, limit - divide_up(used, unit), again, divide_up(used, rate)
  end

  if number == TOKEN_BUCKET then

    -- Remembers its level in parts, and when that was. A change of the unit rounds the level down. {level, time, unit}
    return function(key, change, cost, limit, window, rate, unit)
      local stored, used, moved = redis.call('GET', key), 0, false
      if stored then
        local level, time, parts = struct.unpack('>ddd', stored)
        if parts ~= unit then
          local whole, rest = divide(level, parts)
          level = whole * unit + divide(rest * unit, parts)
        end
        moved = time > now
        used = math.max(0, limit * unit - level - math.max(0, now - time) * rate)
      end
      local changed, used, wait, left, again, reset = refilled(stored, used, change, cost, limit, rate, unit)
      local value = (changed or moved) and struct.pack('>ddd', limit * unit - used, now, unit)
      return wait, left, again, reset, value, used / rate
    end

  end

  -- Remembers the theoretical arrival time, at which nothing is used any more (ITU-T I.371, annex A), in microseconds
  -- and the parts of one. A change of the rate rounds it up. {arrival, parts, rate}
  return function(key, change, cost, limit, window, rate, unit)
    local stored, used, moved = redis.call('GET', key), 0, false
    if stored then
      local arrival, parts, pace = struct.unpack('>ddd', stored)
      if pace ~= rate and parts > 0 then arrival, parts = arrival + 1, 0 end
      used = (arrival - now) * rate + parts
      moved = used > limit * unit
      used = math.max(0, math.min(used, limit * unit))
    end
    local changed, used, wait, left, again, reset = refilled(stored, used, change, cost, limit, rate, unit)
    local ahead, parts = divide(used, rate)
    local value = (changed or moved) and struct.pack('>ddd', now + ahead, parts, rate)
    return wait, left, again, reset, value, ahead + 1
  end
end

-- All answers as if all charges were made (`sign` 1), none (0), or as if they were taken back (-1), and what has to be
-- written for it. Once a rule that is enforced refuses, no charge is made.
local operation = ARGV[1]
local sign = operation == 'hit' and 1 or operation == 'refund' and -1 or 0
local admitted, answers, values, lifetimes
repeat
  admitted, answers, values, lifetimes = true, {}, {}, {}
  for i, key in ipairs(KEYS) do
    local packed = ARGV[i + 1]
    local number, shadow, cost, limit, window, rate, unit = struct.unpack('>BBddddd', packed)
    local change = sign > 0 and cost > limit and 0 or sign * cost
    local wait, left, again, reset, value, lifetime =
      algorithm(number)(key, change, cost, limit, window, rate, unit, packed)
    if cost > limit then wait, again = NEVER, NEVER end
    admitted = admitted and (wait == 0 or shadow == 1)
    answers[i] = struct.pack('>Bi8i8i8', wait == 0 and 1 or 0, left, again, reset)
    values[i], lifetimes[i] = value, lifetime
  end
  sign = sign - 1
until admitted or sign ~= 0  -- only a hit comes to 0, after its first turn
if operation == 'peek' then return table.concat(answers) end

-- A state outlives what it must remember by at most a millisecond: one that ended sooner would give requests away.
-- While its end stays the same, so does its lifetime, which saves some of the write.
for i, key in ipairs(KEYS) do
  local value, lifetime = values[i], lifetimes[i]
  if value and lifetime == KEPT then
    redis.call('SET', key, value, 'KEEPTTL')
  elseif value and lifetime then
    redis.call('PSETEX', key, math.max(1, math.ceil(lifetime / 1000)), value)
  elseif value then
    answers[i] = string.sub(answers[i], 1, 1) .. struct.pack('>i8i8i8', value())
  end
end
return table.concat(answers)
