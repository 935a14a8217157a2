package litestreamyml

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// Where nothing is expanded, a $ stands for itself, everywhere.
func TestLoadLiteral(t *testing.T) {
	c, err := Load(write(t, replicaYAML("url: s3://b/$X", "access-key-id: k$X", "secret-access-key: pa$$word$1x")), environment{"X": "x"}.lookup, false)
	require.NoError(t, err)
	r, err := c.Replica("/data/db")
	require.NoError(t, err)
	require.Equal(t, "$X", r.S3.Path)
	require.Equal(t, "k$X", r.S3.AccessKeyID)
	require.Equal(t, "pa$$word$1x", r.S3.SecretAccessKey.Reveal())
	require.Nil(t, r.Literal)
}

// A key that expansion has changed is kept as it stands as well, whatever is expanded
// elsewhere.
func TestLiteralKey(t *testing.T) {
	env := environment{"DATA": "/data", "X": "x", "SECRET": "given"}
	const top = "access-key-id: top\nsecret-access-key: t$p\n"
	for _, tt := range []struct {
		name, text, expanded, literal string
	}{
		{"in the secret", replicaYAML("url: s3://b/$X", "access-key-id: k", "secret-access-key: pa$$word$1x"), "pawordx", "pa$$word$1x"},
		{"on the next line", replicaYAML("url: s3://b/$X", "access-key-id: k", "secret-access-key:", "  \"a$1b\""), "ab", "a$1b"},
		{"of nothing else", replicaYAML("url: s3://b/$X", "access-key-id: k", "secret-access-key: $ecret"), "", "$ecret"},
		{"at the top", top + replicaYAML("url: s3://b/$X"), "t", "t$p"},
		{"a variable", replicaYAML("url: s3://b/$X", "access-key-id: k", "secret-access-key: ${SECRET}"), "given", "${SECRET}"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := loadReplica(t, strings.Replace(tt.text, "/data/db", "$DATA/db", 1), env)
			require.Equal(t, tt.expanded, r.S3.SecretAccessKey.Reveal())
			require.Equal(t, tt.literal, r.Literal.SecretAccessKey.Reveal())
			require.Equal(t, "x", r.Literal.Path, "the rest is expanded")
		})
	}
	for name, text := range map[string]string{
		"no $":             replicaYAML("url: s3://b/$X", "access-key-id: k", "secret-access-key: s"),
		"$ in other lines": replicaYAML("url: s3://b/$X", "region: $X", "access-key-id: k", "secret-access-key: s"),
		"a $ that stays":   replicaYAML("url: s3://b/db", "access-key-id: k", "secret-access-key: \"s$\""),
		"a file":           replicaYAML("path: /srv/$X"),
	} {
		require.Nil(t, loadReplica(t, text, env).Literal, name)
	}
}
