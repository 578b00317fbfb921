// Command releaselifecycle-engine renders Helm charts and fetches them, for the
// operator and its command line. It reads requests on standard input and answers
// on standard output, one JSON object a line; see README.md.
package main

import (
	"os"

	// Charts may name time zones, and the operator's image has no files of them.
	_ "time/tzdata"
)

func main() {
	os.Exit(run(os.Args[1:], os.Stdin, os.Stdout, os.Stderr))
}
