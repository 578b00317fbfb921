-- Argo CD shows a script no null, and makes an empty list of an empty object in a list. With any change it
-- would write that into the spec, too. An object that has the one in spec.values, or the other anywhere in
-- the spec, is left to `kubectl lifecycle`. `make generate` puts this before each script.
local function hollow(value)
  if type(value) ~= "table" then
    return false
  end
  for _, item in ipairs(value) do
    if type(item) == "table" and next(item) == nil then
      return true
    end
  end
  for _, item in pairs(value) do
    if hollow(item) then
      return true
    end
  end
  return false
end

-- Whether somebody manages a field that is not there: it is null.
local function nulls(fields, value)
  if type(value) ~= "table" then
    return false
  end
  local known = {["."] = {}}
  for key, item in pairs(value) do
    known["f:" .. key] = item
  end
  for key, inner in pairs(fields) do
    if known[key] == nil or nulls(inner, known[key]) then
      return true
    end
  end
  return false
end

local function lossy()
  for _, entry in ipairs(obj.metadata.managedFields or {}) do
    local spec = (entry.fieldsV1 or {})["f:spec"] or {}
    if nulls(spec["f:values"] or {}, obj.spec.values) then
      return true
    end
  end
  return hollow(obj.spec)
end

local function sound()
  if lossy() then
    error("the spec has a null or an empty object that Argo CD would change: use kubectl lifecycle")
  end
end
