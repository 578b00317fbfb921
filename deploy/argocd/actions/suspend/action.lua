-- As `kubectl lifecycle suspend`: nothing more is started.
sound()
obj.spec.suspend = true
return obj
