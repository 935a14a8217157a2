package index

import (
	"context"
	"iter"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/superfly/ltx"

	"github.com/ltxfs/ltxfs/replica"
)

// manyStore lists many files, at no cost.
type manyStore struct {
	replica.Store
	files []replica.File
}

func (s *manyStore) LTXFiles(context.Context, int, replica.ListOptions) iter.Seq2[replica.File, error] {
	return func(yield func(replica.File, error) bool) {
		for _, f := range s.files {
			if !yield(f, nil) {
				return
			}
		}
	}
}

func manyIndex(b *testing.B, kind string) *Index {
	x := New(&manyStore{files: manyFiles(kinds[kind])}, Options{Freshness: time.Hour})
	b.Cleanup(x.Close)
	mustList(b, x)
	return x
}

func mustList(b *testing.B, x *Index) *Snapshot {
	s, err := x.Level(context.Background(), 1)
	if err != nil {
		b.Fatal(err)
	}
	return s
}

func nameOf(n ltx.TXID) replica.Name { return replica.Name{Level: 1, MinTXID: n, MaxTXID: n} }

func BenchmarkIndexBuild(b *testing.B) {
	for kind := range kinds {
		b.Run(kind, func(b *testing.B) {
			x := manyIndex(b, kind)
			b.ReportAllocs()
			for b.Loop() {
				x.Invalidate(1)
				mustList(b, x)
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/many, "ns/file")
		})
	}
}

func BenchmarkFind(b *testing.B) {
	x := manyIndex(b, "disk")
	b.ReportAllocs()
	for b.Loop() {
		if _, _, err := x.Find(context.Background(), nameOf(ltx.TXID(1+rand.IntN(many)))); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkFindMissing is the lookup of a name that isn't there, as rename and
// create make.
func BenchmarkFindMissing(b *testing.B) {
	x := manyIndex(b, "disk")
	b.ReportAllocs()
	for b.Loop() {
		if _, _, err := x.Find(context.Background(), nameOf(many+1)); err == nil {
			b.Fatal("found")
		}
	}
}

func BenchmarkLevel(b *testing.B) {
	x := manyIndex(b, "disk")
	b.ReportAllocs()
	for b.Loop() {
		mustList(b, x)
	}
}

// BenchmarkPutLevel is a listing after each own change.
func BenchmarkPutLevel(b *testing.B) {
	x := manyIndex(b, "disk")
	b.ReportAllocs()
	for n := ltx.TXID(many); b.Loop(); n++ {
		x.Put(replica.File{Name: nameOf(n), Size: 1, Version: replica.Version{Size: 1}})
		mustList(b, x)
	}
}

func BenchmarkAt(b *testing.B) {
	s := mustList(b, manyIndex(b, "disk"))
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		_ = s.At(i % many)
	}
}
