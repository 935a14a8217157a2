package document_test

import (
	"bytes"
	"compress/gzip"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"
	"unicode/utf16"

	"github.com/aws/smithy-go"
	"github.com/stretchr/testify/require"

	"github.com/ltxfs/ltxfs/replica/s3/document"
)

const (
	open  = `<?xml version="1.0" encoding="UTF-8"?>` + "\n" + `<ListBucketResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/"><Name>bucket</Name>`
	end   = `</ListBucketResult>`
	whole = open + "<IsTruncated>false</IsTruncated><Contents><Key>a</Key><Size>5</Size></Contents>" + end
)

func parse(body string) (*document.Listing, error) {
	return document.ParseListing(http.Header{"Content-Type": {"application/xml"}}, []byte(body))
}

func TestParseListing(t *testing.T) {
	l, err := parse(open + `<IsTruncated> TRUE </IsTruncated><NextMarker>a/b</NextMarker><NextContinuationToken>t&amp;</NextContinuationToken>
		<Contents><Key>a/1</Key><Size> 5 </Size><LastModified>2024-05-06T09:08:09+0200</LastModified><ETag>&quot;x&quot;</ETag><Owner><ID>o</ID></Owner></Contents>
		<Contents><Key>a/&#x8;</Key><Size>-1</Size><LastModified/></Contents>
		<Contents><Key><![CDATA[a/<]]></Key><Size>9223372036854775808</Size><LastModified>yesterday</LastModified></Contents>
		<CommonPrefixes><Prefix>a/b/</Prefix><Prefix>a/c/</Prefix></CommonPrefixes><CommonPrefixes><Prefix>a/d/</Prefix></CommonPrefixes>` + end + "\n\n")
	require.NoError(t, err)
	require.True(t, l.Truncated)
	require.Equal(t, "a/b", l.NextMarker)
	require.Equal(t, "t&", l.NextContinuationToken)
	require.Equal(t, []string{"a/b/", "a/c/", "a/d/"}, l.CommonPrefixes)
	require.Equal(t, []document.Object{
		{Key: "a/1", ETag: new(`"x"`), Size: new(int64(5)), LastModified: new(time.Date(2024, 5, 6, 7, 8, 9, 0, time.UTC)), SizeText: " 5 ", TimeText: "2024-05-06T09:08:09+0200"},
		{Key: "a/?????", SizeText: "-1"},
		{Key: "a/<", SizeText: "9223372036854775808", TimeText: "yesterday"},
	}, l.Contents)
}

// Whether a listing goes on is told by what it goes on with, where nothing else does.
func TestParseTruncated(t *testing.T) {
	for text, want := range map[string]bool{
		"": false, "<IsTruncated>false</IsTruncated><NextMarker>a</NextMarker>": false,
		"<NextMarker>a</NextMarker>": true, "<NextContinuationToken>a</NextContinuationToken>": true, "<IsTruncated>1</IsTruncated>": true,
	} {
		l, err := parse(open + text + end)
		require.NoError(t, err)
		require.Equal(t, want, l.Truncated, text)
	}
	for _, text := range []string{"<IsTruncated>perhaps</IsTruncated>", "<IsTruncated/>"} {
		_, err := parse(open + text + end)
		require.ErrorContains(t, err, "whether the listing goes on")
	}
}

// What can be read in another form is.
func TestParseForms(t *testing.T) {
	for _, body := range []string{
		whole, "\uFEFF" + whole, " \n" + whole, strings.Replace(whole, "UTF-8", "ISO-8859-1", 1), strings.Replace(whole, "UTF-8", "us-ascii", 1),
		strings.NewReplacer("</", "</s3:", "<?", "<?", "<", "<s3:").Replace(strings.TrimPrefix(whole, `<?xml version="1.0" encoding="UTF-8"?>`)),
	} {
		l, err := parse(body)
		require.NoError(t, err, body)
		require.Len(t, l.Contents, 1, body)
		require.Equal(t, "a", l.Contents[0].Key)
	}
}

// What is no listing, or none that is whole, is never an empty one: the error says what
// came.
func TestParseOther(t *testing.T) {
	var packed, wide bytes.Buffer
	w := gzip.NewWriter(&packed)
	_, err := io.WriteString(w, whole)
	require.NoError(t, err)
	require.NoError(t, w.Close())
	for _, unit := range utf16.Encode([]rune("\uFEFF" + whole)) {
		wide.Write([]byte{byte(unit), byte(unit >> 8)})
	}
	for body, text := range map[string]string{
		"":                                    `it begins with "", Content-Type "application/xml"`,
		packed.String():                       `it begins with "\x1f\x8b`,
		wide.String():                         `it begins with "\xff\xfe<\x00?\x00x\x00m\x00l`,
		`{"error":"no such method"}`:          `it begins with "{\"error\":\"no such method\"}"`,
		"<html><body>hello":                   `it begins with "<html><body>hello"`,
		strings.Repeat("<Contents/>", 30_000): "more than 10000 entries",
		"<html><body>hello</p></html>":        `it begins with "<html><body>hello</p></html>"`,
		"<html><title>nginx</title></html>":   "it is <html>",
		"<ListBucketResult/>":                 "it is <ListBucketResult>",
		whole + whole:                         `goes on after the end of the listing, with "<?xml version`,
		whole + strings.TrimPrefix(whole, `<?xml version="1.0" encoding="UTF-8"?>`): `goes on after the end of the listing, with "<ListBucketResult`,
		whole + "HTTP/1.1 200 OK": `goes on after the end of the listing, with "HTTP/1.1 200 OK"`,
	} {
		_, err := parse(body)
		require.ErrorContains(t, err, text)
	}
	for n := 1; n < len(whole); n++ {
		_, err := parse(whole[:n])
		require.Error(t, err, whole[:n])
		if n > len(open) {
			require.ErrorIs(t, err, io.ErrUnexpectedEOF)
		}
	}
	_, err = document.ParseListing(http.Header{"Content-Encoding": {"gzip"}}, packed.Bytes())
	require.ErrorContains(t, err, `Content-Encoding "gzip"`)
	_, err = parse("<Error><Code>SlowDown</Code><Message>It is so.</Message></Error>")
	require.Equal(t, &smithy.GenericAPIError{Code: "SlowDown", Message: "It is so."}, err)
}

// A listing goes on after a key that the store has, and no other.
func TestGreatest(t *testing.T) {
	for name, tt := range map[string]struct {
		page document.Listing
		want string
	}{
		"the last key":      {document.Listing{Contents: []document.Object{{Key: "p/b"}, {Key: "p/c"}}, CommonPrefixes: []string{"p/a/"}}, "p/c"},
		"a common prefix":   {document.Listing{Contents: []document.Object{{Key: "p/a"}}, CommonPrefixes: []string{"p/b/"}}, "p/b/"},
		"mended":            {document.Listing{Contents: []document.Object{{Key: "p/a"}, {Key: "p/b?"}}, CommonPrefixes: []string{"p/\uFFFD/"}}, "p/a"},
		"nothing but those": {document.Listing{Contents: []document.Object{{Key: "p/?"}}}, ""},
	} {
		require.Equal(t, tt.want, tt.page.Greatest("p/"), name)
	}
	page := document.Listing{Contents: []document.Object{{Key: "p/??"}, {Key: "p/b"}}}
	require.True(t, page.BeginsBy("p/", "p/b"))
	require.False(t, page.BeginsBy("p/", "p/a"), "the first may have been greater before it was mended")
}
