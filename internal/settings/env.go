package settings

import (
	"slices"
	"strings"

	"github.com/ltxfs/ltxfs/internal/nearest"
	"github.com/ltxfs/ltxfs/replica/s3/config"
)

// envPrefix is how the environment variables of ltxfs begin, and s3Prefix those that
// are nobody else's.
const (
	envPrefix = "LTXFS_"
	s3Prefix  = envPrefix + "S3_"
)

// envName is the environment variable that can stand for a flag.
func envName(flag string) string {
	return envPrefix + strings.ToUpper(strings.ReplaceAll(flag, "-", "_"))
}

// flagEnv are the environment variables that stand for flags.
func flagEnv() (names []string) {
	for _, r := range rows {
		if !r.noEnv {
			names = append(names, envName(r.flag))
		}
	}
	return names
}

// ClearEnv is an addition to an environment that takes away what stands in it for
// flags of ltxfs mount.
func ClearEnv() []string {
	names := flagEnv()
	for i := range names {
		names[i] += "="
	}
	return names
}

// Unknown is an environment variable that was probably meant for ltxfs and
// isn't known. Nearest is the one that may have been meant, or "".
type Unknown struct{ Name, Nearest string }

// UnknownEnv finds the variables in environ, of the form NAME=VALUE, that are
// close to one of a setting or of known, or that begin like those for S3. Other
// programs may have variables that begin like ours, and so may later versions of
// ltxfs.
func UnknownEnv(environ []string, known ...string) (unknown []Unknown) {
	known = append(append(known, flagEnv()...), config.DebugEnv)
	for i := range config.Settings {
		known = append(known, config.Settings[i].Env())
	}
	for _, kv := range slices.Sorted(slices.Values(environ)) {
		name, value, _ := strings.Cut(kv, "=")
		if !strings.HasPrefix(name, envPrefix) || value == "" || slices.Contains(known, name) {
			continue
		}
		// Short names are close to many.
		near := nearest.Of(name, known, max(1, (len(name)-len(envPrefix))/4))
		if near != "" || strings.HasPrefix(name, s3Prefix) {
			unknown = append(unknown, Unknown{name, near})
		}
	}
	return unknown
}
