-- As `kubectl lifecycle test`: run the tests.
sound()
local annotations = obj.metadata.annotations or {}
annotations["releaselifecycle.dev/testAt"] = os.date("!%Y-%m-%dT%XZ")
obj.metadata.annotations = annotations
return obj
