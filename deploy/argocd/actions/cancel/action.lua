-- As `kubectl lifecycle cancel`: stop the running operation.
sound()
local annotations = obj.metadata.annotations or {}
annotations["releaselifecycle.dev/cancelAt"] = os.date("!%Y-%m-%dT%XZ")
obj.metadata.annotations = annotations
return obj
