package document_test

import (
	"bytes"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/ltxfs/ltxfs/replica/s3/document"
)

// However a page is written, it says what the decoder alone finds in it, which reads all
// entries whose tag has a space.
func TestPlainEntriesProperty(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		text := rapid.OneOf(
			rapid.SampledFrom([]string{
				"", "a/1", " 5 ", "&quot;x&quot;", "&#34;x&#34;", "&#x22;", "&amp;quot;", "a&lt;b&gt;&apos;&#39;", "&unknown;", "&", "&amp",
				"<![CDATA[a<b]]>", "]]>", "a\r\nb", "<!-- no -->", "<ID>o</ID>", "</Key>", "2024-05-06T07:08:09Z", "\x01", "é", "\xff",
			}),
			rapid.StringMatching(`[a-z0-9/&;#<>\]]{0,6}`),
		)
		mostly := func(usual string, odd ...string) string {
			return rapid.SampledFrom(append(odd, slices.Repeat([]string{usual}, 30)...)).Draw(t, "form")
		}
		var page strings.Builder
		element := func(names ...string) {
			name := rapid.SampledFrom(names).Draw(t, "name")
			page.WriteString("<" + name + mostly("", ` a="b"`, "/", " ") + ">")
			page.WriteString(text.Draw(t, "text") + "</" + mostly(name, name+" ", "Other") + ">" + mostly("", "\n", "x"))
		}
		page.WriteString(mostly(open, "<ListBucketResult><Name>b</Name>", " <s3:ListBucketResult>", "<List/>", "<Other>", "<!-- x -->"+open))
		for range rapid.IntRange(0, 2).Draw(t, "elements") {
			element("Prefix", "KeyCount", "NextMarker", "CommonPrefixes")
		}
		for range rapid.IntRange(0, 4).Draw(t, "entries") {
			page.WriteString("<Contents>")
			for range rapid.IntRange(0, 5).Draw(t, "elements") {
				element("Key", "Size", "ETag", "LastModified", "Owner", "StorageClass")
			}
			page.WriteString(mostly("</Contents>", "</Contents>\n", "", "</Contents >"))
		}
		page.WriteString(mostly(end, "<IsTruncated>true</IsTruncated>"+end, "", end+end))
		want, wantErr := parse(strings.ReplaceAll(page.String(), "<Contents>", "<Contents >"))
		got, err := parse(page.String())
		require.Equal(t, wantErr == nil, err == nil, "%v, %v", wantErr, err)
		if err == nil {
			require.Equal(t, want, got)
		}
	})
}

func BenchmarkParseListing(b *testing.B) {
	page := []byte(open + "<IsTruncated>false</IsTruncated>" + strings.Repeat(`<Contents><Key>db/0000/0000000000000001-0000000000000001.ltx</Key>`+
		`<LastModified>2026-01-02T03:04:05.678Z</LastModified><ETag>&quot;d41d8cd98f00b204e9800998ecf8427e&quot;</ETag>`+
		`<Size>1234</Size><StorageClass>STANDARD</StorageClass></Contents>`, 1000) + end)
	b.SetBytes(int64(len(page)))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := document.ParseListing(http.Header{}, bytes.Clone(page)); err != nil {
			b.Fatal(err)
		}
	}
}
