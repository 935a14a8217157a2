package config

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
	"putObjectContentMD5":  "Yes",
	"hedge":                "no",
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
	for _, s := range Settings {
		require.Contains(t, settingValues, s.Name, "no test value")
		require.Regexp(t, `^[a-z][A-Za-z0-9]*$`, s.Name)
		require.Regexp(t, `^[a-z][a-z0-9-]*$`, s.Key)
		require.Regexp(t, `^LTXFS_S3_[A-Z0-9_]+$`, s.Env())
		require.Equal(t, strings.ToLower(s.Name), strings.ReplaceAll(s.Key, "-", ""), "one setting, one name")
		require.NotEmpty(t, s.Doc)
		require.NotRegexp(t, `\.$`, s.Doc, "a phrase, not a sentence")
		for _, name := range slices.Compact([]string{s.Name, s.Key, s.Env()}) {
			require.Empty(t, seen[name], "%s names two settings", name)
			seen[name] = s.Name
		}
	}
	require.Len(t, Settings, len(settingValues))
}

// Every setting gets to the same field from URL, file and environment, and says
// from where.
func TestSettingsEverywhere(t *testing.T) {
	for _, s := range Settings {
		t.Run(s.Name, func(t *testing.T) {
			value := settingValues[s.Name]
			want := Config{Bucket: "b", Path: "db"}
			require.NoError(t, want.Set(s.Key, value, "a test"))
			require.Equal(t, "a test", want.From(s.Key))
			want.from = nil
			require.NotEqual(t, Config{Bucket: "b", Path: "db"}, want, "the setting sets nothing")

			fromEnv := Config{Bucket: "b", Path: "db"}
			require.NoError(t, fromEnv.ApplyEnvironment(environment{s.Env(): value}.lookup))
			require.Equal(t, s.Env(), fromEnv.From(s.Key))
			fromEnv.from = nil
			require.Equal(t, want, fromEnv)

			require.Equal(t, s.Secret || s.Name == "accessKeyId", s.NotInURL || s.Name == "sseCustomerKey")
			for _, name := range []string{s.Name, s.Key} {
				fromURL, err := ParseURL("s3://b/db?" + name + "=" + queryEscape(value))
				if s.NotInURL {
					require.Equal(t, s.Refusal("in a URL"), err)
					continue
				}
				require.NoError(t, err)
				require.Equal(t, FromURL, fromURL.From(s.Key))
				fromURL.from = nil
				require.Equal(t, want, fromURL)
			}
		})
	}
}

// What is set explicitly is not filled from elsewhere, be it false.
func TestSettingsExplicitFalse(t *testing.T) {
	for _, s := range Settings {
		if _, err := parseBool(settingValues[s.Name]); err != nil {
			continue
		}
		c := Config{Bucket: "b"}
		require.NoError(t, c.Set(s.Key, "false", "a test"))
		before := c
		require.NoError(t, c.ApplyURL("s3://b?region=x"))
		require.NoError(t, c.ApplyURL("s3://b?"+s.Name+"=true"))
		require.NoError(t, c.ApplyEnvironment(environment{s.Env(): "true", "LTXFS_S3_REGION": "y"}.lookup))
		require.Equal(t, "a test", c.From(s.Key))
		before.Path, before.Region, before.from = ".", "x", c.from
		require.Equal(t, before, c, s.Name)
	}
}

// A configuration says of every setting what holds, and why.
func TestText(t *testing.T) {
	c := Config{Bucket: "b", Endpoint: "t3.storage.dev", Region: "eu"}
	for key, value := range map[string]string{
		"access-key-id": "id", "secret-access-key": "hunter2", "skip-verify": "false", "sse-customer-key": sseKeyOne,
	} {
		require.NoError(t, c.Set(key, value, "a test"))
	}
	c, err := c.Resolve()
	require.NoError(t, err)
	for i := range Settings {
		s := &Settings[i]
		require.NotContains(t, s.Text(&c), "hunter2")
		require.NotContains(t, s.Text(&c), sseKeyOne)
	}
	for key, want := range map[string][2]string{
		"region": {"eu", ""}, "endpoint": {"https://t3.storage.dev", ""}, "force-path-style": {"true", "default for Tigris"},
		"skip-verify": {"false", "a test"}, "ca-file": {"", ""},
		"put-object-content-md5": {"false", ""}, "sign-payload": {"true", "default"}, "part-size": {"16MiB", "default for Tigris"},
		"max-connections": {"64", "default"}, "access-key-id": {"id", "a test"}, "secret-access-key": {"(set)", "a test"},
		"session-token": {"", ""}, "sse-customer-key": {"(set)", "a test"},
	} {
		i := slices.IndexFunc(Settings, func(s Setting) bool { return s.Key == key })
		require.Equal(t, want, [2]string{Settings[i].Text(&c), c.From(key)}, key)
	}
}

func TestSetUnknown(t *testing.T) {
	var c Config
	require.Panics(t, func() { _ = c.Set("forcePathStyle", "true", "a test") }, "keys are those of litestream.yml")
	require.NoError(t, c.Set("part-size", "", "a test"))
	require.Equal(t, Config{}, c)
	copied := c
	require.NoError(t, c.Set("part-size", "6MiB", "a test"))
	require.Equal(t, int64(6<<20), c.PartSize)
	require.Equal(t, Config{}, copied)
	copied = c
	require.NoError(t, c.Set("concurrency", "6", "a test"))
	require.Empty(t, copied.From("concurrency"), "a copy is another configuration")
}

// No error has a secret's value in it, whatever is wrong with it.
func TestSettingsSecretsStaySecret(t *testing.T) {
	for _, s := range Settings {
		for _, value := range []string{"hunter2 hunter2", "hunter2\nx", "hunter2", "hunter2ü"} {
			var c Config
			err := c.Set(s.Key, value, "a test")
			if s.Secret && err != nil {
				require.NotContains(t, err.Error(), "hunter2", s.Name)
			}
			if s.Secret {
				require.Equal(t, err == nil, c.from != nil)
			}
		}
	}
}

func TestParseBool(t *testing.T) {
	for in, want := range map[string]any{
		"true": true, "TRUE": true, "1": true, "t": true, "T": true, "yes": true, "Yes": true,
		"false": false, "False": false, "0": false, "f": false, "no": false, "NO": false,
		"on": nil, "off": nil, "y": nil, "2": nil, " true": nil, "ture": nil,
	} {
		got, err := parseBool(in)
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
		"0": 0, "65536": 65536, "65536B": 65536, "4KiB": 4096, "4kib": 4096, "128MiB": 128 << 20, "128 MiB": 128 << 20,
		"1TiB": 1 << 40, "5KB": 5000, "5MB": 5_000_000, "1GB": 1_000_000_000, "9223372036854775807": 9223372036854775807,
		"9223372036854775808": 9223372036854775807, "9007199254740993KiB": 9223372036854775807,
	} {
		got, err := ParseSize(in)
		require.NoError(t, err, in)
		require.Equal(t, want, got, in)
	}
	for _, in := range []string{"", "MiB", "-5MiB", "5XiB", "5 M B", "1.2.3", "1e9", "99999999TiB", "٥MiB", "NaN", "Inf",
		"-1", "-1MiB", "12XB", "1e6", "0x10", "12 34", "M"} {
		_, err := ParseSize(in)
		require.Error(t, err, in)
	}
	for _, in := range []string{"0", "0.1", "9223372036854775808"} {
		var c Config
		require.ErrorContains(t, c.Set("part-size", in, "a test"), "is not between 5MiB and 5GiB", in)
	}
}

func TestSizeString(t *testing.T) {
	for size, want := range map[Size]string{
		134217728: "128MiB", 1 << 30: "1GiB", 1500: "1500B", 0: "0B", 3 << 40: "3TiB", 12288: "12KiB", 3 << 29: "1536MiB",
	} {
		require.Equal(t, want, size.String())
	}
}

func TestShowValue(t *testing.T) {
	require.Equal(t, `"a\nb"`, showValue("a\nb"))
	require.Len(t, []rune(showValue(strings.Repeat("ü", 100))), 64+3)
}
