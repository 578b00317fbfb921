// Package sandbox limits the process that it runs in: what a chart's templates
// can reach, and how much memory and CPU time they can take.
//
// Everything is set from inside, before the first byte of input is read, and
// nothing of it can be undone. The kernel enforces it on every thread.
package sandbox

// Limits are what a process may use; zero is no limit.
type Limits struct {
	MemoryBytes uint64
	CPUSeconds  uint64
	// Network leaves the network reachable, and no files: to fetch charts.
	Network bool
	// Files leaves all reachable: to render the charts of a person on a machine of
	// their own.
	Files bool
}
