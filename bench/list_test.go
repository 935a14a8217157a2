package bench

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/aws/aws-sdk-go-v2/service/s3"
	"golang.org/x/sync/errgroup"

	"github.com/ltxfs/ltxfs/integration/s3test"
)

// listGroup lists a level of n files, right after mounting and again.
func listGroup(w *world, name string, n int, places ...place) *group {
	g := &group{
		name: name, title: fmt.Sprintf("Listing %d files of a level", n), replica: name,
		places: places, contestants: with([]*contestant{sdk}, []*contestant{sdk}, []*contestant{plain}),
		prepare: func(w *world) error {
			if places[0] == w.disk {
				return w.makeFiles(name, n)
			}
			return w.makeObjects(name, n)
		},
	}
	for _, command := range []struct {
		name string
		args []string
	}{
		{"ls -f", []string{"ls", "-f"}},
		{"ls -l", []string{"ls", "-l"}},
		{"find", []string{"find", "-type", "f"}},
	} {
		for _, first := range []bool{true, false} {
			r := row{
				name: command.name + ", second", fresh: first, entries: n,
				job: job{Kind: "list", Command: command.args}, metrics: []*metric{seconds, perFile},
			}
			if first {
				r.name = command.name + ", first"
			}
			g.rows = append(g.rows, r)
		}
	}
	return g
}

// pagedGroup lists a million files of a store that takes its time for each page. The SDK asks for one page after the
// other.
func pagedGroup(w *world) *group {
	return &group{
		name: "list-paged", title: fmt.Sprintf("Listing %d files, %v a page", million, pageDelay), replica: s3test.SyntheticReplica,
		places:      []place{w.paged},
		contestants: func(*world, place) []*contestant { return []*contestant{ltxfs, previous, sdk} },
		prepare:     func(*world) error { return nil },
		rows: []row{{
			name: "ls -f, first", fresh: true, entries: million, job: job{Kind: "list", Command: []string{"ls", "-f"}}, metrics: []*metric{seconds},
		}},
	}
}

// list has a program list a directory. The SDK alone lists objects instead.
func (j job) list() (outcome, error) {
	if j.Object != nil {
		return j.Object.list()
	}
	if j.Command[0] == "find" {
		j.Command = append([]string{"find", j.Path}, j.Command[1:]...)
		j.Path = "-print"
	}
	return j.command()
}

// makeFiles makes files that have a size, but no data: they are only listed.
func (w *world) makeFiles(replica string, n int) error {
	dir := filepath.Join(w.dir, replica, fmt.Sprintf(onDisk, 0))
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	for i := range n {
		f, err := os.Create(filepath.Join(dir, smallName(i+1)))
		if err != nil {
			return err
		}
		if err := errors.Join(f.Truncate(int64(i%10_000)), f.Close()); err != nil {
			return err
		}
	}
	return nil
}

func (w *world) makeObjects(replica string, n int) error {
	puts, ctx := errgroup.WithContext(context.Background())
	puts.SetLimit(16)
	for i := range n {
		puts.Go(func() error {
			key := replicaAt{name: replica}.key(0, smallName(i+1))
			_, err := w.client.PutObject(ctx, &s3.PutObjectInput{
				Bucket: &w.bucket, Key: &key, Body: bytes.NewReader(make([]byte, i%1000)),
			})
			return err
		})
	}
	return puts.Wait()
}
