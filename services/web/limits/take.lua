-- Count a picture of one client unless a limit is reached: usage.py has the same arithmetic.
-- KEYS: a hash of tokens and of today's pictures, a set of the pictures in progress.
-- ARGV: rate, burst, concurrency, daily (-1: no limit); name and longest seconds of the picture;
-- the time in seconds since 1970, or nothing for that of this server, which all processes share.
local rate, burst = tonumber(ARGV[1]), tonumber(ARGV[2])
local concurrency, daily = tonumber(ARGV[3]), tonumber(ARGV[4])
local picture, longest_s = ARGV[5], tonumber(ARGV[6])
local now = tonumber(ARGV[7])
if not now then
  local clock = redis.call('TIME')
  now = tonumber(clock[1]) + tonumber(clock[2]) / 1000000
end

local stored = redis.call('HMGET', KEYS[1], 'tokens', 'at', 'day', 'used')
local tokens, at = tonumber(stored[1]) or burst, tonumber(stored[2]) or now
if at - now > 3600 then
  at = now
  redis.call('HSET', KEYS[1], 'at', string.format('%.6f', at))
end
tokens = math.min(burst, tokens + math.max(0, now - at) * math.max(0, rate))
at = math.max(at, now)
local day, used = tonumber(stored[3]) or 0, tonumber(stored[4]) or 0
local today = math.floor(now / 86400)
if today > day or today < day - 1 then
  day, used = today, 0
end
local in_progress = 0
if concurrency >= 0 then
  -- Those of processes that were killed.
  redis.call('ZREMRANGEBYSCORE', KEYS[2], '-inf', string.format('%.6f', now))
  in_progress = redis.call('ZCARD', KEYS[2])
end

local refusal = ''
if concurrency >= 0 and in_progress >= concurrency then
  refusal = 'concurrency_limit'
elseif daily >= 0 and used >= daily then
  refusal = 'daily_limit'
elseif rate >= 0 and tokens < 1 then
  refusal = 'rate_limit'
else
  used = used + 1
  if rate >= 0 then
    tokens = tokens - 1
  end
  if concurrency >= 0 then
    in_progress = in_progress + 1
    redis.call('ZADD', KEYS[2], string.format('%.6f', now + longest_s), picture)
    redis.call('EXPIRE', KEYS[2], math.ceil(longest_s) + 1)
  end
  redis.call('HSET', KEYS[1], 'tokens', string.format('%.9f', tokens),
    'at', string.format('%.6f', at), 'day', day, 'used', used)
  -- Until it would be that of a new client.
  local kept_s = 1
  if rate > 0 then kept_s = (burst - tokens) / rate end
  if daily >= 0 then kept_s = math.max(kept_s, (day + 1) * 86400 - now) end
  redis.call('EXPIRE', KEYS[1], math.ceil(kept_s) + 1)
end
return {refusal, string.format('%.9f', tokens), in_progress, used,
  math.ceil((day + 1) * 86400 - now)}
