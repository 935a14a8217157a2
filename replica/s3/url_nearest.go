package s3

import (
	"strings"

	"github.com/ltxfs/ltxfs/internal/nearest"
)

// nearestSetting is the name of a URL's setting that somebody who wrote name
// probably meant, or "".
func nearestSetting(name string) string {
	closest, least := "", max(2, len(name)/3)+1
	for i := range settings {
		for _, known := range settings[i].Query {
			if d := nearest.Distance(strings.ToLower(name), strings.ToLower(known)); d < least {
				closest, least = known, d
			}
		}
	}
	return closest
}
