package pull

import (
	"slices"
	"strings"

	"github.com/Masterminds/semver/v3"
)

// choose picks a version as Helm does: the very one that is asked for, else the
// newest that fits the range; no range is the newest stable one.
func choose(versions []string, wanted string) (string, bool, error) {
	if wanted != "" && slices.Contains(versions, wanted) {
		return wanted, true, nil
	}
	constraint := wanted
	if constraint == "" {
		constraint = "*"
	}
	fits, err := semver.NewConstraint(constraint)
	if err != nil {
		return "", false, err
	}
	for _, version := range newestFirst(versions) {
		if parsed, err := semver.NewVersion(version); err == nil && fits.Check(parsed) {
			return version, true, nil
		}
	}
	return "", false, nil
}

// newestFirst sorts versions; what is no version comes last.
func newestFirst(versions []string) []string {
	sorted := slices.Clone(versions)
	slices.SortStableFunc(sorted, func(a, b string) int {
		x, errX := semver.NewVersion(a)
		y, errY := semver.NewVersion(b)
		switch {
		case errX != nil && errY != nil:
			return strings.Compare(a, b)
		case errX != nil:
			return 1
		case errY != nil:
			return -1
		default:
			return y.Compare(x)
		}
	})
	return sorted
}

// readable are those that can be read as versions; others are a server's own words.
func readable(versions []string) []string {
	return slices.DeleteFunc(slices.Clone(versions), func(version string) bool {
		_, err := semver.NewVersion(version)
		return err != nil
	})
}

// few names the newest of what is there, for a message.
func few(versions []string) string {
	const most = 8
	sorted := newestFirst(versions)
	switch {
	case len(sorted) == 0:
		return "none"
	case len(sorted) > most:
		return strings.Join(sorted[:most], ", ") + ", …"
	default:
		return strings.Join(sorted, ", ")
	}
}
