//go:build cgo && linux

package sandbox

const cgo = true
