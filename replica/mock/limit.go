package mock

import (
	"context"
	"log/slog"

	"github.com/superfly/ltx"

	"github.com/ltxfs/ltxfs/replica"
)

// Can is a set of what a client can do beside replica.Client.
type Can uint8

// What a client can do.
const (
	Stat           Can = 1 << iota // replica.Stater
	OpenVersion                    // replica.VersionOpener
	WriteVersion                   // replica.VersionWriter
	ListVersion                    // replica.VersionIterator, by its iterators
	WriteExclusive                 // replica.ExclusiveWriter
)

// Limit returns the same replica as a client that can do only what can says.
// Of the interfaces in Can, its type has those and no other. Faults and counts
// are shared with c.
func (c *ReplicaClient) Limit(can Can) replica.Client {
	base := &limited{client: c, versions: can&ListVersion != 0}
	// An interface can't be taken away from a type, so there is a type for
	// each set of them.
	switch can &^ ListVersion {
	case Stat:
		return struct {
			*limited
			replica.Stater
		}{base, c}
	case OpenVersion:
		return struct {
			*limited
			replica.VersionOpener
		}{base, c}
	case WriteVersion:
		return struct {
			*limited
			replica.VersionWriter
		}{base, c}
	case WriteExclusive:
		return struct {
			*limited
			replica.ExclusiveWriter
		}{base, c}
	case Stat | OpenVersion:
		return struct {
			*limited
			replica.Stater
			replica.VersionOpener
		}{base, c, c}
	case Stat | WriteVersion:
		return struct {
			*limited
			replica.Stater
			replica.VersionWriter
		}{base, c, c}
	case OpenVersion | WriteVersion:
		return struct {
			*limited
			replica.VersionOpener
			replica.VersionWriter
		}{base, c, c}
	case Stat | WriteExclusive:
		return struct {
			*limited
			replica.Stater
			replica.ExclusiveWriter
		}{base, c, c}
	case OpenVersion | WriteExclusive:
		return struct {
			*limited
			replica.VersionOpener
			replica.ExclusiveWriter
		}{base, c, c}
	case WriteVersion | WriteExclusive:
		return struct {
			*limited
			replica.VersionWriter
			replica.ExclusiveWriter
		}{base, c, c}
	case Stat | OpenVersion | WriteVersion:
		return struct {
			*limited
			replica.Stater
			replica.VersionOpener
			replica.VersionWriter
		}{base, c, c, c}
	case Stat | OpenVersion | WriteExclusive:
		return struct {
			*limited
			replica.Stater
			replica.VersionOpener
			replica.ExclusiveWriter
		}{base, c, c, c}
	case Stat | WriteVersion | WriteExclusive:
		return struct {
			*limited
			replica.Stater
			replica.VersionWriter
			replica.ExclusiveWriter
		}{base, c, c, c}
	case OpenVersion | WriteVersion | WriteExclusive:
		return struct {
			*limited
			replica.VersionOpener
			replica.VersionWriter
			replica.ExclusiveWriter
		}{base, c, c, c}
	case Stat | OpenVersion | WriteVersion | WriteExclusive:
		return struct {
			*limited
			replica.Stater
			replica.VersionOpener
			replica.VersionWriter
			replica.ExclusiveWriter
		}{base, c, c, c, c}
	}
	return base
}

// client is a ReplicaClient with no more than replica.Client shows, plus what
// every concrete client has.
type client interface {
	replica.Client
	Init(ctx context.Context) error
	SetLogger(logger *slog.Logger)
}

// limited hides what is optional.
type limited struct {
	client
	versions bool
}

func (l *limited) LTXFiles(ctx context.Context, level int, seek ltx.TXID, useMetadata bool) (ltx.FileIterator, error) {
	it, err := l.client.LTXFiles(ctx, level, seek, useMetadata)
	if err != nil || l.versions {
		return it, err
	}
	return struct{ ltx.FileIterator }{it}, nil
}
