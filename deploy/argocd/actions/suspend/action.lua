-- As `kubectl lifecycle suspend`: nothing more is started.
obj.spec.suspend = true
return obj
