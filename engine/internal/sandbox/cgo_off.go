//go:build !cgo && linux

package sandbox

const cgo = false
