-- As `kubectl lifecycle resume`.
sound()
obj.spec.suspend = nil
return obj
