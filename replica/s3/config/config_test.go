package config

import (
	"bytes"
	"encoding/json"
	"fmt"
	"log/slog"
	"testing"

	"github.com/stretchr/testify/require"
	"go.yaml.in/yaml/v3"
)

func TestSecretDoesNotShow(t *testing.T) {
	const hidden = "hunter2"
	c := Config{Bucket: "bucket", SecretAccessKey: hidden, SessionToken: hidden, SSECustomerKey: hidden}
	var shown []string
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%X", "%d", "%t", "%10.3s"} {
		shown = append(shown, fmt.Sprintf(verb, c.SecretAccessKey), fmt.Sprintf(verb, struct{ C *Config }{&c}), fmt.Sprintf(verb, []Secret{hidden}))
	}
	asJSON, err := json.Marshal(struct{ S Secret }{hidden})
	require.NoError(t, err)
	asYAML, err := yaml.Marshal(struct{ S Secret }{hidden})
	require.NoError(t, err)
	var log bytes.Buffer
	logger := slog.New(slog.NewTextHandler(&log, nil))
	logger.Info("text", "secret", c.SecretAccessKey, "config", c)
	slog.New(slog.NewJSONHandler(&log, nil)).Info("json", "secret", c.SecretAccessKey)
	shown = append(shown, string(asJSON), string(asYAML), log.String())
	for _, s := range shown {
		require.NotContains(t, s, hidden)
		require.NotContains(t, s, fmt.Sprintf("%x", hidden))
	}
	require.Contains(t, log.String(), "(secret)")
	require.Equal(t, hidden, c.SecretAccessKey.Reveal())
	require.Equal(t, "", fmt.Sprint(Secret("")), "an unset one may be seen to be so")
}
