package s3

import "strings"

// nearestSetting is the name of a URL's setting that somebody who wrote name
// probably meant, or "".
func nearestSetting(name string) string {
	nearest, least := "", max(2, len(name)/3)+1
	for i := range settings {
		for _, known := range settings[i].Query {
			if d := editDistance(strings.ToLower(name), strings.ToLower(known)); d < least {
				nearest, least = known, d
			}
		}
	}
	return nearest
}

// editDistance is how many bytes must be inserted, deleted or replaced to make
// one string the other.
func editDistance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			replaced := diagonal
			if a[i] != b[j] {
				replaced++
			}
			diagonal = row[j+1]
			row[j+1] = min(replaced, row[j]+1, row[j+1]+1)
		}
	}
	return row[len(b)]
}
