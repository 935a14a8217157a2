package integration

import (
	"bytes"
	"encoding/json"
	"errors"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/santhosh-tekuri/jsonschema/v6"
	"github.com/stretchr/testify/require"

	"github.com/ltxfs/ltxfs/integration/ltxfstest"
	"github.com/ltxfs/ltxfs/integration/s3test"
)

// updateGolden has the test write the golden files anew if it is set to 1.
const updateGolden = "LTXFS_UPDATE_GOLDEN"

// goldenCase is a command on the sample, and what it writes.
type goldenCase struct {
	name   string // of the golden file
	args   []string
	code   int
	schema string // of its JSON, "" for text
}

func goldenCases(t *testing.T) []goldenCase {
	sound, damaged := ltxfstest.Orders(t), ltxfstest.Orders(t)
	damageForGolden(t, damaged)
	snapshot := ltxfstest.StorePath(9, "0000000000000001-0000000000000013.ltx")
	cut := ltxfstest.StorePath(1, "0000000000000017-0000000000000018.ltx")
	empty := ltxfstest.StorePath(0, "0000000000000005-0000000000000005.ltx")
	out := filepath.Join(t.TempDir(), "restored.db")
	store := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusForbidden) }))
	t.Cleanup(store.Close)
	refused := s3test.URL(store.URL, "bucket", "orders")
	return []goldenCase{
		{"info.txt", []string{"info", sound}, 0, ""},
		{"info.json", []string{"info", "--json", sound}, 0, "info"},
		{"info-damaged.txt", []string{"info", damaged}, 0, ""},
		{"info-damaged.json", []string{"info", "--json", damaged}, 0, "info"},
		{"info-file.txt", []string{"info", filepath.Join(sound, snapshot)}, 0, ""},
		{"info-file.json", []string{"info", "--json", filepath.Join(sound, snapshot)}, 0, "info-file"},
		{"info-file-damaged.txt", []string{"info", filepath.Join(damaged, cut)}, ltxfstest.ExitDamaged, ""},
		{"info-file-damaged.json", []string{"info", "--json", filepath.Join(damaged, cut)}, ltxfstest.ExitDamaged, "info-file"},
		{"info-file-empty.json", []string{"info", "--json", filepath.Join(damaged, empty)}, ltxfstest.ExitDamaged, "info-file"},
		{"ls.txt", []string{"ls", sound}, 0, ""},
		{"ls.json", []string{"ls", "--json", sound}, 0, "ls"},
		{"ls-human.txt", []string{"ls", "-h", "--sort=size", "--level=9,1", sound}, 0, ""},
		{"ls-damaged.txt", []string{"ls", "--level=0,1", damaged}, 0, ""},
		{"ls-damaged.json", []string{"ls", "--json", "--level=0,1", damaged}, 0, "ls"},
		{"verify.txt", []string{"verify", "--check=quick", sound}, 0, ""},
		{"verify.jsonl", []string{"verify", "--check=quick", "--json", sound}, 0, "verify"},
		{"verify-damaged.txt", []string{"verify", damaged}, ltxfstest.ExitDamaged, ""},
		{"verify-damaged.jsonl", []string{"verify", "--json", damaged}, ltxfstest.ExitDamaged, "verify"},
		{"verify-undetermined.txt", []string{"verify", refused}, ltxfstest.ExitUndetermined, ""},
		{"verify-undetermined.jsonl", []string{"verify", "--json", refused}, ltxfstest.ExitUndetermined, "verify"},
		{"restore.txt", []string{"restore", "--check=full", "--txid=0000000000000012", sound, "-o", out}, 0, ""},
	}
}

func (c *goldenCase) run(t *testing.T) ltxfstest.Result {
	t.Helper()
	cmd := exec.Command(ltxfstest.Binary(), c.args...)
	cmd.Env = append(ltxfstest.Env(), "AWS_ACCESS_KEY_ID=a", "AWS_SECRET_ACCESS_KEY=b")
	return ltxfstest.RunCmd(t, ltxfstest.Timeout, cmd)
}

// damageForGolden makes a gap, a stray, and damaged files, a snapshot among them, that keep
// their times.
func damageForGolden(t *testing.T, root string) {
	s := &sample{t, root}
	s.remove(name(0, 0xb, 0xb), name(1, 0xa, 0xb), name(2, 7, 0xe))
	require.NoError(t, os.WriteFile(filepath.Join(root, "ltx", "0", "notes.txt"), nil, 0o600))
	flip(name(9, 1, 0x13), 300)(s)
	cut := s.read(name(1, 0x17, 0x18))
	s.write(name(1, 0x17, 0x18), cut[:len(cut)-1])
	s.write(name(0, 5, 5), nil)
	for _, f := range ltxfstest.OrdersFiles(t) {
		err := os.Chtimes(filepath.Join(root, f.StorePath()), f.ModTime, f.ModTime)
		require.True(t, err == nil || errors.Is(err, os.ErrNotExist), err)
	}
}

// What commands write is what the golden files have, and what the schemas describe.
func TestGolden(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(ltxfstest.Root(), "integration", "testdata", "golden")
	var names []string
	for _, c := range goldenCases(t) {
		names = append(names, c.name)
		t.Run(c.name, func(t *testing.T) {
			r := c.run(t)
			require.Equal(t, c.code, r.Code, r)
			if c.code == ltxfstest.ExitOK && !strings.Contains(c.name, "damaged") { // a gap is logged
				require.Empty(t, r.Stderr)
			}
			if c.schema != "" {
				for _, v := range values(t, r.Stdout) {
					require.NoError(t, schema(t, c.schema).Validate(v), r)
				}
			}
			got := normalized(r)
			path := filepath.Join(dir, c.name)
			if os.Getenv(updateGolden) == "1" {
				require.NoError(t, os.MkdirAll(dir, 0o755))
				require.NoError(t, os.WriteFile(path, []byte(got), 0o644))
			}
			want, err := os.ReadFile(path)
			require.NoError(t, err)
			require.Equal(t, string(want), got, "%s=1 writes it anew", updateGolden)
		})
	}
	entries, err := os.ReadDir(dir)
	require.NoError(t, err)
	for _, e := range entries {
		require.Contains(t, names, e.Name(), "no command writes it")
	}
}

// changing is what differs between runs, and what stands for it.
var changing = []struct {
	pattern *regexp.Regexp
	with    string
}{
	{regexp.MustCompile(`, (\d+d(\d+h)?|\d+h(\d+m)?|\d+m(\d+s)?|\d+(\.\d+)?s) ago\b`), ", AGE ago"},
	{regexp.MustCompile(`(?m) in \d+\.\d s$`), " in N s"},
	{regexp.MustCompile(`"(age_seconds|seconds)":( ?)\d+(\.\d+)?\b`), `"$1":${2}0`},
	{regexp.MustCompile(`"began":"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ"`), `"began":"2000-01-01T00:00:00Z"`},
}

// replicaIn is where a command's replica is, whichever test's.
var replicaIn = regexp.MustCompile(`^(/.*?)(/ltx/\d/[^/]+|/restored\.db)?$`)

// findings are those of verify, in text or JSON.
var findings = regexp.MustCompile(`(?m)^(damage|open|warning): .*\n(    .*\n)+|^\{"type":"finding",.*\n`)

// normalized is what a command wrote with fixed values in place of what changes.
func normalized(r ltxfstest.Result) string {
	text := r.Stdout
	for _, arg := range r.Args {
		if m := replicaIn.FindStringSubmatch(arg); m != nil {
			text = strings.ReplaceAll(text, m[1], "/REPLICA")
		}
	}
	for _, c := range changing {
		text = c.pattern.ReplaceAllString(text, c.with)
	}
	all := findings.FindAllString(text, -1)
	slices.Sort(all) // files are verified at the same time
	return strings.Join(all, "") + findings.ReplaceAllString(text, "")
}

func schemaPath(name string) string {
	return filepath.Join(ltxfstest.Root(), "docs", "schemas", name+".schema.json")
}

func schema(t *testing.T, name string) *jsonschema.Schema {
	t.Helper()
	c := jsonschema.NewCompiler()
	c.AssertFormat()
	s, err := c.Compile(schemaPath(name))
	require.NoError(t, err)
	return s
}

// values are those of JSON, one after the other.
func values(t *testing.T, text string) (all []any) {
	t.Helper()
	for dec := json.NewDecoder(strings.NewReader(text)); dec.More(); {
		var v any
		require.NoError(t, dec.Decode(&v))
		all = append(all, v)
	}
	require.NotEmpty(t, all)
	return all
}

// Of each object that a command writes, the schema refuses one with another field, and one
// without one of its fields, but for those that may be missing.
func TestSchemaRefuses(t *testing.T) {
	t.Parallel()
	optional := map[string][]string{
		"info": {}, "ls": {},
		"info-file": {"pre_apply_checksum", "post_apply_checksum"},
		"verify":    {"file", "meaning", "open", "bytes"},
	}
	seen := map[string]bool{}
	for _, c := range goldenCases(t) {
		if c.schema == "" || c.schema == "info-file" && c.code != 0 { // of such a file, less is told
			continue
		}
		seen[c.schema] = true
		s := schema(t, c.schema)
		for _, v := range values(t, c.run(t).Stdout) {
			for _, o := range objects(v) {
				o["nonsense"] = 1
				require.Error(t, s.Validate(v), "%s: another field in %v", c.name, o)
				delete(o, "nonsense")
				for key, value := range maps.Clone(o) {
					if slices.Contains(optional[c.schema], key) {
						continue
					}
					delete(o, key)
					require.Error(t, s.Validate(v), "%s: no %s in %v", c.name, key, o)
					o[key] = value
				}
				require.NoError(t, s.Validate(v)) // it was these changes that were refused
			}
		}
	}
	for name := range optional {
		require.True(t, seen[name], name)
	}
}

// objects are all objects in a value of JSON.
func objects(v any) (all []map[string]any) {
	switch v := v.(type) {
	case map[string]any:
		all = append(all, v)
		for _, value := range v {
			all = append(all, objects(value)...)
		}
	case []any:
		for _, value := range v {
			all = append(all, objects(value)...)
		}
	}
	return all
}

// Schemas describe each property, and leave no object open.
func TestSchemaDescribes(t *testing.T) {
	t.Parallel()
	files, err := filepath.Glob(schemaPath("*"))
	require.NoError(t, err)
	require.Len(t, files, 4)
	for _, path := range files {
		data, err := os.ReadFile(path)
		require.NoError(t, err)
		for _, o := range objects(values(t, string(data))[0]) {
			if o["type"] != "object" {
				continue
			}
			require.Equal(t, false, o["additionalProperties"], "%s: %v", path, o)
			for name, p := range o["properties"].(map[string]any) {
				require.NotEmpty(t, p.(map[string]any)["description"], "%s: %s", path, name)
			}
		}
	}
}

// The schema of verify has the codes, severities and stages of the program.
func TestSchemaCodes(t *testing.T) {
	t.Parallel()
	source, err := os.ReadFile(filepath.Join(ltxfstest.Root(), "internal", "audit", "finding.go"))
	require.NoError(t, err)
	want := map[string][]string{}
	for _, m := range regexp.MustCompile(`(?m)^\t\w+ +(Code|Severity|Stage) += "(.+?)"`).FindAllSubmatch(source, -1) {
		kind := string(bytes.ToLower(m[1]))
		want[kind] = append(want[kind], string(m[2]))
	}
	data, err := os.ReadFile(schemaPath("verify"))
	require.NoError(t, err)
	var s struct {
		Defs map[string]struct{ Enum []string } `json:"$defs"`
	}
	require.NoError(t, json.Unmarshal(data, &s))
	require.Len(t, want, 3)
	for kind, values := range want {
		require.Equal(t, values, s.Defs[kind].Enum, kind)
	}
}

// A mistyped command line is refused in one line, and as such: not as a replica that is
// damaged or can't be read.
func TestTypos(t *testing.T) {
	t.Parallel()
	root := ltxfstest.Orders(t)
	out := filepath.Join(t.TempDir(), "out.db")
	all := []string{"--layout=x", "--cache-size=x", "--cache-size=1KiB", "--limit-read=x", "--limit-read=1KiB", "--max-requests=x", "--max-requests=-1", "--config=" + out, "--no-expand-env=x", "--nonsense", "-x"}
	for _, c := range []struct {
		command string
		similar []string
		flags   []string // wrong ones, beside all
	}{
		{"info", []string{"inf", "infos", "Infoo"}, []string{"--json=x", "--level=0"}},
		{"ls", []string{"lss", "lz", "list"}, []string{"--json=x", "--level=x", "--level=10", "--level=-1", "--level=", "--since=now", "--sort=name", "--human-readable=x"}},
		{"verify", []string{"verfy", "verifi", "verify-"}, []string{"--json=x", "--level=x", "--level=10", "--level=0,", "--since=now", "--quick=x", "--read-data-subset=0/7",
			"--read-data-subset=8/7", "--read-data-subset=0%", "--read-data-subset=101%", "--read-data-subset=x", "--quick --read-data-subset=1/7",
			"--since=", "--read-data-subset=", "--check=x", "--states=2", "--check=full --states=0", "--check=full --states=x"}},
		{"restore", []string{"restor", "restores", "retsore"}, []string{"--txid=", "--timestamp=", "--txid=1", "--txid=000000000000000x", "--timestamp=now", "--txid=0000000000000001 --timestamp=2026-11-22", "--check=x", "--force=x", "--json"}},
	} {
		rest := []string{root}
		if c.command == "restore" {
			rest = append(rest, "-o", out)
			requireUsage(t, "restore: needs the file", c.command, root)
		}
		for _, similar := range c.similar {
			requireUsage(t, "did you mean "+c.command, append([]string{similar}, rest...)...)
			requireUsage(t, "did you mean "+c.command, append([]string{similar, "--json"}, rest...)...)
		}
		for _, flags := range slices.Concat(all, c.flags) {
			requireUsage(t, "", slices.Concat([]string{c.command}, strings.Fields(flags), rest)...)
		}
		requireUsage(t, "needs REPLICA, but got 0 of 1", slices.Concat([]string{c.command}, rest[1:])...)
		requireUsage(t, "needs REPLICA, but got 2 of 1", slices.Concat([]string{c.command, root}, rest)...)
		require.NoFileExists(t, out)
		require.Zero(t, ltxfstest.Ltxfs(t, slices.Concat([]string{c.command}, rest)...).Code, "without a typo")
		require.NoError(t, os.RemoveAll(out))
	}
	file := filepath.Join(root, "file")
	require.NoError(t, os.WriteFile(file, nil, 0o600))
	for _, path := range []string{file, filepath.Join(root, "none")} {
		r := ltxfstest.Ltxfs(t, "verify", path)
		require.Equal(t, ltxfstest.ExitNoReplica, r.Code, r)
		require.Empty(t, r.Stdout)
	}
}

// requireUsage runs a command line that is wrong, and checks that it is told so.
func requireUsage(t *testing.T, says string, args ...string) {
	t.Helper()
	r := ltxfstest.Ltxfs(t, args...)
	require.Equal(t, ltxfstest.ExitUsage, r.Code, r)
	require.Empty(t, r.Stdout, r)
	require.Regexp(t, `^ltxfs: .+\n$`, r.Stderr, r)
	require.Contains(t, r.Stderr, says, r)
}
