package s3

import "io"

// digest is the checksums that writing some content takes, as whoever reads it in order
// anyway can take them.
type digest struct {
	bucket *bucket
	whole  *sums
	parts  []*sums // as far as an upload can have parts of the configured size
}

func (s *Store) newDigest() io.Writer { return &digest{bucket: s.bucket, whole: newSums()} }

// Write implements io.Writer.
func (d *digest) Write(p []byte) (int, error) {
	_, _ = d.whole.Write(p) // it has no errors
	n, size := len(p), d.bucket.cfg.PartSize
	for len(p) > 0 {
		last := len(d.parts) - 1
		if last < 0 || d.parts[last].size == size {
			if last+1 == maxParts {
				break
			}
			d.parts = append(d.parts, d.bucket.newBodySums())
			last++
		}
		most := min(int64(len(p)), size-d.parts[last].size)
		_, _ = d.parts[last].Write(p[:most])
		p = p[most:]
	}
	return n, nil
}

// isOf reports whether the digest is of what is uploaded, by its size and its parts'.
func (d *digest) isOf(u *upload) bool {
	return d.bucket == u.at.bucket && d.whole.size == u.content.Size() && d.whole.size > 0 && u.partSize() == u.at.cfg.PartSize
}

// sum returns the checksums of the i-th part of the content, and has those of the whole
// know it.
func (u *upload) sum(i int, off, size int64) (*sums, error) {
	if u.digest != nil {
		return u.digest.parts[i], nil
	}
	part := u.at.newBodySums()
	return part, sum(u.content, off, size, part, u.sums)
}
