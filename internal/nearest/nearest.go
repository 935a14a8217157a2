// Package nearest finds out what somebody meant who mistyped a word.
package nearest

import "strings"

// Of is the first of the known words that are closest to a word, whatever their
// capitals, or "" if none is within a distance.
func Of(word string, known []string, within int) string {
	closest, least := "", within+1
	for _, k := range known {
		if d := distance(strings.ToLower(word), strings.ToLower(k)); d < least {
			closest, least = k, d
		}
	}
	return closest
}

// distance is how many bytes must be inserted, deleted or replaced to make one
// string the other.
func distance(a, b string) int {
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
