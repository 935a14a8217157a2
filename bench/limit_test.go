package bench

import (
	"os/exec"
	"path/filepath"
	"strconv"

	"github.com/ltxfs/ltxfs/integration/s3test"
)

// The limits.
var (
	sdk = &contestant{name: "SDK", kind: limit, open: func(w *world, r replicaAt) (*session, error) {
		return &session{target: func(j job, level int, name string) job {
			j.Object = &object{
				Endpoint: r.endpoint, Region: w.server.Region, AccessKey: w.server.AccessKey, SecretKey: w.server.SecretKey,
				Bucket: w.bucket, Key: r.key(level, name),
			}
			return j
		}}, nil
	}}

	plain = &contestant{name: "file", kind: limit, open: func(w *world, r replicaAt) (*session, error) {
		root := filepath.Join(w.dir, r.name)
		return &session{source: root, target: inTree(root, onDisk)}, nil
	}}

	memory = &contestant{name: "go-fuse", kind: limit, open: func(w *world, _ replicaAt) (*session, error) {
		cmd := exec.Command(w.self, "MOUNTPOINT")
		cmd.Env = []string{memoryEnv + "=" + strconv.FormatInt(w.size(), 10)}
		d, err := w.startDaemon(cmd)
		if err != nil {
			return nil, err
		}
		return &session{daemon: d, target: func(j job, _ int, name string) job {
			j.Path = filepath.Join(d.dir, name)
			return j
		}}, nil
	}}

	// copied is rclone without a mount, and without comparing what has arrived.
	copied = &contestant{name: "rclone copy", kind: limit, open: func(w *world, r replicaAt) (*session, error) {
		path, err := find("rclone")
		if err != nil {
			return nil, err
		}
		command := append([]string{path}, rcloneFlags(w, r.endpoint)...)
		command = append(command, "--ignore-checksum", "--no-check-dest", "--s3-disable-checksum", "--s3-no-head", "--s3-no-check-bucket")
		return &session{target: func(j job, level int, name string) job {
			verb := "copyto"
			if name == "" {
				verb = "copy"
			}
			j.Kind, j.Command, j.Env = "command", append(command, verb, j.Source), w.server.Env()
			j.Path = ":s3:" + w.bucket + "/" + r.key(level, name)
			return j
		}}, nil
	}}

	// straight is Litestream without a mount.
	straight = &contestant{name: "Litestream", kind: limit, open: func(w *world, r replicaAt) (*session, error) {
		return &session{target: func(j job, _ int, _ string) job {
			if j.Path = "file://" + filepath.Join(w.dir, r.name); r.endpoint != "" {
				j.Path, j.Env = s3test.URL(r.endpoint, w.bucket, r.name), w.server.Env()
			}
			return j
		}}, nil
	}}
)
