package s3

import (
	"encoding/base64"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

var (
	sseKeyOne = base64.StdEncoding.EncodeToString([]byte("0123456789abcdef0123456789ABCDEF"))
	sseKeyTwo = base64.StdEncoding.EncodeToString([]byte("fedcba98765432100123456789abcdef"))
)

// A value of each setting that isn't the default, in the order of the table.
var settingValues = map[string]string{
	"region":               "eu-west-1",
	"endpoint":             "https://minio.example.com",
	"forcePathStyle":       "false",
	"skipVerify":           "true",
	"caFile":               "/etc/ssl/own.pem",
	"signPayload":          "no",
	"signAcceptEncoding":   "0",
	"requireContentMD5":    "F",
	"putObjectContentMD5":  "Yes",
	"concurrency":          "7",
	"partSize":             "6MiB",
	"metadataConcurrency":  "11",
	"maxConnections":       "13",
	"storageClass":         "STANDARD_IA",
	"sseCustomerAlgorithm": "AES256",
	"sseCustomerKey":       sseKeyOne,
	"sseCustomerKeyMD5":    "dW5jaGVja2Vk",
	"sseKmsKeyId":          "alias/backup",
	"profile":              "backup",
	"roleArn":              "arn:aws:iam::123456789012:role/backup",
	"externalId":           "customer 1",
	"anonymous":            "1",
	"requesterPays":        "t",
	"accessKeyId":          "AKIDEXAMPLE",
	"secretAccessKey":      "wJalrXUtnFEMI/K7MDENG+bPx",
	"sessionToken":         "IQoJb3JpZ2luX2Vj==",
}

func TestSettingsTable(t *testing.T) {
	seen := map[string]string{}
	for _, s := range Settings() {
		require.Contains(t, settingValues, s.Name, "no test value")
		require.Regexp(t, `^[a-z][A-Za-z0-9]*$`, s.Name)
		require.Regexp(t, `^[a-z][a-z0-9-]*$`, s.YAML)
		require.Regexp(t, `^LTXFS_S3_[A-Z0-9_]+$`, s.Env)
		require.Equal(t, strings.ReplaceAll(strings.ToLower(s.Name), "-", ""), strings.ReplaceAll(s.YAML, "-", ""), "one setting, one name")
		require.NotEmpty(t, s.Doc)
		require.NotRegexp(t, `\.$`, s.Doc, "a phrase, not a sentence")
		for _, name := range append(slices.Clone(s.Query), s.Env) {
			require.Empty(t, seen[name], "%s names two settings", name)
			seen[name] = s.Name
		}
	}
	require.Len(t, settings, len(settingValues))
	require.LessOrEqual(t, len(settings), 64, "settingBits has a bit for each")
}

// What Settings returns is the caller's own.
func TestSettingsAreCopies(t *testing.T) {
	Settings()[0].Query[0] = "changed"
	require.Equal(t, "region", Settings()[0].Query[0])
}

// Every setting gets to the same field from URL, file and environment.
func TestSettingsEverywhere(t *testing.T) {
	for _, s := range Settings() {
		t.Run(s.Name, func(t *testing.T) {
			value := settingValues[s.Name]
			want := Config{Bucket: "b", Path: "db"}
			require.NoError(t, want.Set(s.YAML, value))
			require.NotEqual(t, Config{Bucket: "b", Path: "db", explicit: want.explicit}, want, "the setting sets nothing")

			fromEnv := Config{Bucket: "b", Path: "db"}
			require.NoError(t, fromEnv.ApplyEnvironment(environment{s.Env: value}.lookup))
			require.Equal(t, want, fromEnv)

			require.Equal(t, s.Secret || s.Name == "accessKeyId", len(s.Query) == 0 || s.Name == "sseCustomerKey")
			for _, name := range s.Query {
				fromURL, err := ParseURL("s3://b/db?" + name + "=" + queryEscape(value))
				require.NoError(t, err)
				require.Equal(t, want, fromURL)
			}
		})
	}
}

// What is set explicitly is not filled from elsewhere, be it false.
func TestSettingsExplicitFalse(t *testing.T) {
	for _, s := range Settings() {
		if _, err := parseBoolValue(settingValues[s.Name]); err != nil {
			continue
		}
		c := Config{Bucket: "b"}
		require.NoError(t, c.Set(s.YAML, "false"))
		before := c
		require.NoError(t, c.SetDefault(s.YAML, "true"))
		require.NoError(t, c.ApplyURL("s3://b?region=x"))
		require.NoError(t, c.ApplyEnvironment(environment{s.Env: "true", "LTXFS_S3_REGION": "y"}.lookup))
		before.Path, before.Region, before.explicit = ".", "x", c.explicit
		require.Equal(t, before, c, s.Name)
	}
}

func TestSetUnknown(t *testing.T) {
	var c Config
	require.Panics(t, func() { _ = c.Set("forcePathStyle", "true") }, "keys are those of litestream.yml")
	require.NoError(t, c.Set("part-size", ""))
	require.Equal(t, Config{}, c)
	require.NoError(t, c.SetDefault("part-size", "6MiB"))
	require.NoError(t, c.SetDefault("part-size", "7MiB"))
	require.Equal(t, int64(6<<20), c.PartSize)
}

// No error has a secret's value in it, whatever is wrong with it.
func TestSettingsSecretsStaySecret(t *testing.T) {
	for _, s := range Settings() {
		for _, value := range []string{"hunter2 hunter2", "hunter2\nx", "hunter2", "hunter2ü"} {
			var c Config
			err := c.Set(s.YAML, value)
			if s.Secret && err != nil {
				require.NotContains(t, err.Error(), "hunter2", s.Name)
			}
			if s.Secret {
				require.Equal(t, err == nil, c != Config{})
			}
		}
	}
}

func TestParseBoolValue(t *testing.T) {
	for in, want := range map[string]any{
		"true": true, "TRUE": true, "1": true, "t": true, "T": true, "yes": true, "Yes": true,
		"false": false, "False": false, "0": false, "f": false, "no": false, "NO": false,
		"on": nil, "off": nil, "y": nil, "2": nil, " true": nil, "ture": nil,
	} {
		got, err := parseBoolValue(in)
		if want == nil {
			require.Error(t, err, in)
			continue
		}
		require.NoError(t, err, in)
		require.Equal(t, want, got, in)
	}
}

func TestParseSize(t *testing.T) {
	for in, want := range map[string]int64{
		"5242880": 5 << 20, "5MiB": 5 << 20, "5 mib": 5 << 20, "5Mi": 5 << 20, " 5MIB ": 5 << 20,
		"16MB": 16e6, "16m": 16e6, "16M": 16e6, "100B": 100, "1.5GiB": 3 << 29, "1,024KB": 1024e3, "1g": 1e9,
		"2TiB": 2 << 40, "0.5k": 500, "8388608.0": 8 << 20,
	} {
		got, err := parseSize(in)
		require.NoError(t, err, in)
		require.Equal(t, want, got, in)
	}
	for _, in := range []string{"", "MiB", "-5MiB", "5XiB", "5 M B", "0", "0.1", "1.2.3", "9223372036854775808", "1e9", "99999999TiB", "٥MiB", "NaN", "Inf"} {
		_, err := parseSize(in)
		require.Error(t, err, in)
	}
}

func TestShowValue(t *testing.T) {
	require.Equal(t, `"a\nb"`, showValue("a\nb"))
	require.Len(t, []rune(showValue(strings.Repeat("ü", 100))), 64+3)
}

func TestNearestSetting(t *testing.T) {
	require.Empty(t, nearestSetting("colour"))
	require.Equal(t, "partSize", nearestSetting("partsize"))
}
