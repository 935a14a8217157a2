package litestreamyml

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

const sseKey = "MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY="

// What is wrong is told with its line and key, and without the values that
// surround it, as any of them may be a secret.
func TestErrors(t *testing.T) {
	for name, tt := range map[string]struct{ text, want string }{
		"not YAML":                       {"dbs:\n  - path: [hunter2\n", ":2: not valid YAML"},
		"quote open":                     {"a: b\nsecret-access-key: \"hunter2\n", ":2: not valid YAML"},
		"unknown escape":                 {"a: b\nsecret-access-key: \"hunter2\\q\"\n", ":2: not valid YAML"},
		"tab":                            {"dbs:\n\t- path: hunter2\n", ":2: not valid YAML"},
		"bad indent":                     {"dbs:\n  - path: /data/db\n   replica: hunter2\n", "not valid YAML"},
		"no alias":                       {"dbs: *hunter2\n", ": not valid YAML: an alias has no anchor"},
		"its own alias":                  {"dbs: &a\n  - *a\n", ":1: dbs: each entry must have keys"},
		"no mapping":                     {"- hunter2\n", ":1: not a configuration of Litestream"},
		"a text":                         {"hunter2\n", ":1: not a configuration of Litestream"},
		"control":                        {"a: b\n\x00hunter2\n", ":2: a control character"},
		"not UTF-8":                      {"a: \xff\xfehunter2\n", ": not a text in UTF-8"},
		"deep":                           {strings.Repeat("[", 100000), ":1: not valid YAML: exceeded max depth"},
		"deep entries":                   {"a:\n" + strings.Repeat("- ", 100000), ":2: not valid YAML: exceeded max depth"},
		"deep lines":                     {nested(1000), ": /data/db isn't in it"},
		"merge of a text":                {"a: &a hunter2\ndbs:\n  - <<: *a\n", ":1: <<: only mappings"},
		"merge of itself":                {"dbs:\n  - &a\n    <<: *a\n", ":2: dbs: the entry has neither"},
		"dbs":                            {"a: b\ndbs: hunter2\n", ":2: dbs: it must be a list"},
		"dbs twice":                      {"dbs: []\na: b\ndbs: []\n", ":3: dbs: it is given a second time, after line 1"},
		"entry":                          {"dbs:\n  - hunter2\n", ":2: dbs: each entry must have keys"},
		"empty entry":                    {"dbs:\n  - path: /x\n  -\n", ":3: dbs: each entry must have keys"},
		"no path":                        {"dbs:\n  - replica:\n      url: s3://hunter2\n", ":2: dbs: the entry has neither"},
		"path and dir":                   {"dbs:\n  - path: /x\n    dir: /y\n", ":3: dir: the entry has a path as well"},
		"path list":                      {"dbs:\n  - path: [/x]\n", ":2: path: it must be one value"},
		"dir mapping":                    {"dbs:\n  - dir: {a: hunter2}\n", ":2: dir: it must be one value"},
		"the root":                       {"dbs:\n  - path: /\n", ":2: path: it is a directory"},
		"NUL":                            {"dbs:\n  - path: \"/a\\0hunter2\"\n", ":2: path: no path has the character NUL"},
		"no pattern":                     {"dbs:\n  - dir: /x\n", ":2: dir: a pattern must be given"},
		"bad pattern":                    {"dbs:\n  - dir: /x\n    pattern: 'a['\n", ":3: pattern: syntax error in pattern"},
		"bad recursive":                  {"dbs:\n  - dir: /x\n    pattern: '*'\n    recursive: maybe\n", ":4: recursive: it must be true or false"},
		"path twice":                     {"dbs:\n  - path: /x\n  - path: /x/../x\n", ":3: path: the database is in line 2 already"},
		"replica text":                   {"dbs:\n  - path: /x\n    replica: s3://hunter2\n", ":3: replica: it must have keys"},
		"replicas text":                  {"dbs:\n  - path: /x\n    replicas: hunter2\n", ":3: replicas: it must be a list"},
		"replicas entry":                 {"dbs:\n  - path: /x\n    replicas:\n      -\n", ":4: replicas: it must have keys"},
		"boolean":                        {replicaYAML("url: s3://b", "sign-payload: hunter"), `:5: sign-payload: "hunter" is neither true nor false`},
		"skip-verify":                    {replicaYAML("url: s3://b", "skip-verify: hunter2"), ":5: skip-verify: it must be true or false"},
		"size":                           {replicaYAML("url: s3://b", "part-size: 5XiB"), `:5: part-size: "5XiB" is not a size`},
		"number":                         {replicaYAML("url: s3://b", "concurrency: five"), `:5: concurrency: "five" is not`},
		"negative":                       {replicaYAML("url: s3://b", "concurrency: -1"), `:5: concurrency: -1 is not between`},
		"list":                           {replicaYAML("url: s3://b", "region: [a]"), ":5: region: it must be one value"},
		"setting twice":                  {replicaYAML("url: s3://b", "region: a", "region: b"), ":6: region: it is given a second time, after line 5"},
		"key":                            {replicaYAML("url: s3://b", "sse-customer-key: hunter2"), ":5: sse-customer-key: it isn't base64"},
		"secret":                         {replicaYAML("url: s3://b", "secret-access-key: hunter2 hunter2"), ":5: secret-access-key: a blank"},
		"of the top level":               {"sign-payload: 2\n" + replicaYAML("url: s3://b"), ":1: sign-payload: \"2\" is neither"},
		"top level list":                 {"access-key-id: [hunter2]\n" + replicaYAML("url: s3://b"), ":1: access-key-id: it must be one value"},
		"url and path":                   {replicaYAML("url: s3://hunter2", "path: x"), ":4: url: the replica has a path as well"},
		"url and bucket":                 {replicaYAML("url: s3://hunter2", "bucket: x"), ":4: url: the replica has a bucket as well"},
		"url and the top level's bucket": {"bucket: x\n" + replicaYAML("url: s3://hunter2"), ":5: url: the replica has a bucket as well"},
	} {
		t.Run(name, func(t *testing.T) {
			file := write(t, tt.text)
			c, err := Load(file, environment{}.lookup, true)
			if err == nil {
				_, err = c.Replica("/data/db")
			}
			requireError(t, err, file, tt.want)
		})
	}
}

// What only the replica that is asked for must get right.
func TestReplicaErrors(t *testing.T) {
	for name, tt := range map[string]struct{ text, want string }{
		"no dbs":            {"", ": /data/db isn't in it, nor any other database"},
		"no replica":        {"dbs:\n  - path: /data/db\n", ":2: replica: the database has none"},
		"null replica":      {"dbs:\n  - path: /data/db\n    replica:\n    replicas:\n", ":2: replica: the database has none"},
		"two replicas":      {"dbs:\n  - path: /data/db\n    replicas:\n      - url: s3://a\n      - url: s3://b\n", ":5: replicas: the database has several"},
		"both":              {"dbs:\n  - path: /data/db\n    replica:\n      url: s3://a\n    replicas:\n      - url: s3://b\n", ":6: replicas: the database has a replica as well"},
		"path is a URL":     {replicaYAML("path: s3://hunter2/db"), ":4: path: it must not be a URL"},
		"path list":         {replicaYAML("path: [hunter2]"), ":4: path: it must be one value"},
		"url is none":       {replicaYAML("url: hunter2/db"), ":4: url: it is no URL"},
		"url list":          {replicaYAML("url: [hunter2]"), ":4: url: it must be one value"},
		"type list":         {replicaYAML("type: [hunter2]"), ":4: type: it must be one value"},
		"url of S3":         {replicaYAML("url: s3://k:hunter2@b"), ":4: url: the S3 URL holds credentials"},
		"url's setting":     {replicaYAML("url: s3://b?forcePathStile=true"), ":4: url: the S3 URL has a setting that is not known, forcePathStile: did you mean"},
		"url's key":         {replicaYAML("url: s3://b?sseCustomerKey=" + sseKey), ":4: url: Litestream v0.5 passes over sseCustomerKey"},
		"no bucket":         {replicaYAML("type: s3", "path: db"), ":4: bucket: the replica has none"},
		"unknown type":      {replicaYAML("type: hunter2"), ":4: type: there is no type of replica of this name"},
		"file without path": {replicaYAML("type: file"), ":4: replica: it has neither path nor url"},
		"file with both":    {replicaYAML("url: file:///x", "path: /x"), ":4: url: the replica has a path as well"},
		"bad file URL":      {replicaYAML("url: file:///%zzhunter2"), ":4: url: it can't be understood"},
		"no file URL":       {replicaYAML("url: 'file://'"), ":4: url: it can't be understood"},
		"age":               {replicaYAML("url: s3://b", "age: {recipients: [hunter2]}"), ":5: age: Litestream v0.5 doesn't encrypt"},
		"age of all":        {"age:\n  identities:\n    - hunter2\n" + replicaYAML("url: s3://b"), ":1: age: Litestream v0.5"},
		"age twice":         {replicaYAML("url: s3://b", "age: {}", "age: {}"), ":6: age: it is given a second time"},
		"recipients twice":  {replicaYAML("url: s3://b", "age: {recipients: [], recipients: []}"), ":5: recipients: it is given"},
		"key file":          {replicaYAML("url: s3://b", "sse-customer-key-path: /nonexistent/key"), ":5: sse-customer-key-path: /nonexistent/key: no such file"},
		"key file's type":   {replicaYAML("url: s3://b", "sse-customer-key-path: /"), ":5: sse-customer-key-path: /: not a regular file"},
		"key file of home":  {replicaYAML("url: s3://b", "sse-customer-key-path: ~/key"), ":5: sse-customer-key-path: the home directory for ~ is not known"},
		"key file's list":   {replicaYAML("url: s3://b", "sse-customer-key-path: [hunter2]"), ":5: sse-customer-key-path: it must be one value"},
	} {
		t.Run(name, func(t *testing.T) {
			file := write(t, tt.text)
			c, err := Load(file, environment{}.lookup, true)
			if err == nil {
				var r Replica
				r, err = c.Replica("/data/db")
				require.Equal(t, Replica{}, r)
			}
			requireError(t, err, file, tt.want)
		})
	}
}

func TestUnsupported(t *testing.T) {
	for _, kind := range []string{"gs", "abs", "sftp", "nats", "webdav", "oss"} {
		for key, text := range map[string]string{
			"type": replicaYAML("type: "+kind, "bucket: x", "endpoint: 'k:hunter2@x'"),
			"url":  replicaYAML("url: " + kind + "://user:hunter2@host/x"),
		} {
			c := load(t, text, nil)
			_, err := c.Replica("/data/db")
			require.ErrorIs(t, err, ErrUnsupported)
			requireError(t, err, c.file, ":4: "+key+": a replica of type "+kind+" is not supported")
		}
	}
	_, err := load(t, replicaYAML("url: webdavs://user:hunter2@host/x"), nil).Replica("/data/db")
	require.ErrorContains(t, err, "type webdav is")
}

// requireError checks an error of a file.
func requireError(t *testing.T, err error, file, want string) {
	t.Helper()
	var e *Error
	require.ErrorAs(t, err, &e)
	require.Equal(t, file, e.File)
	require.True(t, strings.HasPrefix(err.Error(), file), err)
	require.ErrorContains(t, err, want)
	require.NotContains(t, err.Error(), "hunter2")
	require.NotContains(t, err.Error(), sseKey)
	require.NotContains(t, err.Error(), "\n")
}

// replicaYAML is a configuration with one replica: its keys are in the lines from 4 on.
func replicaYAML(lines ...string) string {
	return "dbs:\n  - path: /data/db\n    replica:\n      " + strings.Join(lines, "\n      ") + "\n"
}

func nested(depth int) string {
	var b strings.Builder
	for i := range depth {
		b.WriteString(strings.Repeat(" ", i) + "a:\n")
	}
	return b.String()
}

func TestLoadFile(t *testing.T) {
	dir := t.TempDir()
	_, err := Load(filepath.Join(dir, "missing.yml"), os.LookupEnv, true)
	require.ErrorIs(t, err, os.ErrNotExist)
	require.EqualError(t, err, filepath.Join(dir, "missing.yml")+": no such file or directory")

	_, err = Load(dir, os.LookupEnv, true)
	require.EqualError(t, err, dir+": not a regular file")

	large := filepath.Join(dir, "large.yml")
	require.NoError(t, os.WriteFile(large, []byte(strings.Repeat("# comment\n", 1<<17)), 0o600))
	_, err = Load(large, os.LookupEnv, true)
	require.ErrorContains(t, err, "larger than 1024 KiB")

	for _, text := range []string{"", "\n", "# nothing\n", "---\n", "~\n", "dbs:\n", "dbs: []\n", "addr: :9090\n"} {
		c := load(t, text, nil)
		require.Empty(t, c.Databases())
	}
}

// What isn't needed is not looked at: Litestream's keys of other things, keys of
// nobody, and a second document.
func TestIgnored(t *testing.T) {
	r := loadReplica(t, `
addr: [9090]
levels: {interval: nonsense}
snapshot: 7
exec: {}
colour: red
1: one
~: nothing
dbs:
  - path: /data/db
    meta-path: [x]
    monitor-interval: nonsense
    colour: blue
    replica:
      url: s3://bucket/db
      name: [x]
      sync-interval: nonsense
      colour: green
      colour: yellow
---
dbs: nonsense
`, nil)
	require.Equal(t, "bucket", r.S3.Bucket)
}

func TestFileForms(t *testing.T) {
	text := replicaYAML("url: s3://bucket/db", "region: eu-west-1")
	for name, form := range map[string]string{
		"CRLF":     strings.ReplaceAll(text, "\n", "\r\n"),
		"BOM":      "\ufeff" + text,
		"document": "---\n" + text,
		"flow":     `{"dbs": [{"path": "/data/db", "replica": {"url": "s3://bucket/db", "region": "eu-west-1"}}]}`,
		"anchors":  "x: &r\n  url: s3://bucket/db\n  region: eu-west-1\ndbs:\n  - path: /data/db\n    replica: *r\n",
		"merge":    "x: &r\n  url: s3://other\n  region: eu-west-1\ndbs:\n  - path: /data/db\n    replica:\n      <<: *r\n      url: s3://bucket/db\n",
		"merges":   "x: &r\n  url: s3://bucket/db\ny: &s\n  url: s3://other\n  region: eu-west-1\ndbs:\n  - path: /data/db\n    replica:\n      <<: [*r, *s]\n",
		"tags":     "dbs: !!seq\n  - path: !!str /data/db\n    replica: !!map\n      url: !!str s3://bucket/db\n      region: eu-west-1\n",
		"quotes":   replicaYAML(`"url": 's3://bucket/db'`, `"region": "eu-west\u002d1"`),
		"block":    replicaYAML("url: |-", "  s3://bucket/db", "region: >-", "  eu-west-1"),
		"comments": strings.ReplaceAll(text, "\n", " # why\n"),
	} {
		t.Run(name, func(t *testing.T) {
			r := loadReplica(t, form, nil)
			require.Equal(t, "s3://bucket/db", r.S3.String())
			require.Equal(t, "eu-west-1", r.S3.Region)
			require.Empty(t, r.Path)
		})
	}
}

// Lines are right behind everything that spans several.
func TestErrorLines(t *testing.T) {
	for name, before := range map[string]string{
		"literal":       "exec: |\n  a\n\n  b\n",
		"folded":        "exec: >-\n  a\n  b\n\n",
		"plain":         "exec: a\n  b\n  c\n",
		"quoted":        "exec: \"a\n  b\n\n  c\"\n",
		"single quoted": "exec: 'a\n  b'\n",
		"comments":      "# a\n\n  # b\nexec: x # c\n",
		"flow":          "exec: [a,\n  b,\n  {c: d,\n  e: f}]\n",
		"list":          "exec:\n  - a\n  -\n    - b\n",
		"CRLF":          "exec: |\r\n  a\r\n\r\n  b\r\n",
		"blank":         "\n\n\n",
		"document":      "# a\n---\n",
	} {
		t.Run(name, func(t *testing.T) {
			file := write(t, before+"dbs: 7\n")
			_, err := Load(file, os.LookupEnv, true)
			require.EqualError(t, err, fmt.Sprintf("%s:%d: dbs: it must be a list: put a - before each entry", file, 1+strings.Count(before, "\n")))
		})
	}
}

// However the text is, it is read in a moment.
func TestLargeFiles(t *testing.T) {
	for name, text := range map[string]string{
		"a key again and again": strings.Repeat("a: b\n", maxFile/20),
		"many keys":             manyKeys(maxFile / 40),
		"an alias of aliases":   "a: &a [x]\n" + strings.Repeat("a: &a [*a,*a,*a]\n", 1000) + "dbs: *a\n",
		"merges of merges":      "a: &a {}\n" + strings.Repeat("a: &a {<<: [*a, *a, *a]}\n", 1000) + "dbs: [*a]\n",
	} {
		t.Run(name, func(t *testing.T) {
			begin := time.Now()
			c, err := Load(write(t, text), os.LookupEnv, true)
			if err == nil {
				_, err = c.Replica("/data/db")
			}
			require.Error(t, err)
			require.Less(t, time.Since(begin), 30*time.Second)
		})
	}
}

func manyKeys(n int) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, "k%d: v\n", i)
	}
	return b.String()
}

func TestErrorWraps(t *testing.T) {
	err := func() (err error) { defer catch("file", &err); must(0, "", errors.New("why")); return nil }()
	require.EqualError(t, err, "file: why")
	require.EqualError(t, errors.Unwrap(err), "why")
	require.NoError(t, func() (err error) { defer catch("file", &err); must(0, "", nil); return nil }())
	require.PanicsWithValue(t, "a bug", func() { var err error; defer catch("file", &err); panic("a bug") })
}
