-- Closed-loop load for wrk: wrk ... -s http.lua URL -- KIND [KEYS] [VALUE BYTES] [ENTRIES A BATCH]
-- KIND: put, get, batch (podmirror), etcd-put, etcd-range (etcd's JSON gateway). Ends with a line
-- of JSON: requests, errors, the latencies in microseconds.
local kind, keys, bytes, batch
local value
local bodies = {}
local counter = 0

local ALPHABET = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
local function base64(text)
  local out = {}
  for i = 1, #text, 3 do
    local a, b, c = text:byte(i, i + 2)
    local n = a * 65536 + (b or 0) * 256 + (c or 0)
    for shift = 3, 0, -1 do
      local index = math.floor(n / 64 ^ shift) % 64
      out[#out + 1] = ALPHABET:sub(index + 1, index + 1)
    end
    if not b then out[#out - 1] = "=" end
    if not c then out[#out] = "=" end
  end
  return table.concat(out)
end

local function key(i) return string.format("key-%014d", i % keys) end

function init(args)
  kind, keys, bytes, batch = args[1], tonumber(args[2] or 100000), tonumber(args[3] or 100),
      tonumber(args[4] or 100)
  value = string.rep("v", bytes)
  counter = math.random(0, keys)
  if kind == "batch" then
    for first = 0, keys - 1, batch do
      local entries = {}
      for i = first, first + batch - 1 do
        entries[#entries + 1] = string.format('"%s":"%s"', key(i), value)
      end
      bodies[#bodies + 1] =
          '{"data":[{"type":1,"data":{' .. table.concat(entries, ",") .. '}}]}'
    end
  elseif kind == "etcd-put" or kind == "etcd-range" then
    local rest = kind == "etcd-put" and '","value":"' .. base64(value) .. '"}'
        or '","serializable":true}'
    for i = 0, math.min(keys, 10000) - 1 do
      bodies[#bodies + 1] = '{"key":"' .. base64(key(i)) .. rest
    end
  end
end

function request()
  counter = counter + 1
  if kind == "put" then return wrk.format("PUT", "/v1/cache/1/" .. key(counter), nil, value) end
  if kind == "get" then return wrk.format("GET", "/v1/cache/1/" .. key(counter)) end
  local path = ({batch = "/v1/cache", ["etcd-put"] = "/v3/kv/put",
                 ["etcd-range"] = "/v3/kv/range"})[kind]
  return wrk.format("POST", path, nil, bodies[counter % #bodies + 1])
end

function done(summary, latency)
  local errors = summary.errors
  io.write(string.format(
      '{"requests":%d,"errors":%d,"p50_us":%d,"p99_us":%d}\n', summary.requests,
      errors.connect + errors.read + errors.write + errors.status + errors.timeout,
      latency:percentile(50), latency:percentile(99)))
end
