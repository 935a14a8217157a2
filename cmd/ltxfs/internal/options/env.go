package options

import (
	"slices"
	"strings"

	"github.com/ltxfs/ltxfs/internal/nearest"
)

// EnvPrefix is how the environment variables of ltxfs begin.
const EnvPrefix = "LTXFS_"

// EnvName is the environment variable that can stand for a flag.
func EnvName(flag string) string {
	return EnvPrefix + strings.ToUpper(strings.ReplaceAll(flag, "-", "_"))
}

// Unknown is an environment variable that was probably meant for ltxfs and
// isn't known. Nearest is the one that may have been meant, or "".
type Unknown struct{ Name, Nearest string }

// strictPrefix begins variables that are nobody else's.
const strictPrefix = EnvPrefix + "S3_"

// UnknownEnv finds the variables in environ, of the form NAME=VALUE, that are
// close to a known one, or that begin like those for S3. Other programs may have
// variables that begin like ours, and so may later versions of ltxfs.
func UnknownEnv(environ, known []string) []Unknown {
	var unknown []Unknown
	for _, kv := range environ {
		name, value, _ := strings.Cut(kv, "=")
		if !strings.HasPrefix(name, EnvPrefix) || value == "" || slices.Contains(known, name) {
			continue
		}
		closest, distance := "", len(name)
		for _, k := range known {
			if d := nearest.Distance(name, k); d < distance {
				closest, distance = k, d
			}
		}
		// Short names are close to many.
		isTypo := distance <= max(1, (len(name)-len(EnvPrefix))/4)
		switch {
		case isTypo:
			unknown = append(unknown, Unknown{name, closest})
		case strings.HasPrefix(name, strictPrefix):
			unknown = append(unknown, Unknown{Name: name})
		}
	}
	slices.SortFunc(unknown, func(a, b Unknown) int { return strings.Compare(a.Name, b.Name) })
	return unknown
}
