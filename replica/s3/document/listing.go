// Package document reads what stores answer to ListObjects, and the times and ranges in
// their answers, in every form that can be understood. The SDK's parsers fail a whole page for
// one key, time or size of another form, and take what is no listing for an empty one.
package document

import (
	"bytes"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/aws/smithy-go"
)

// Listing is a page of a listing, as either version of ListObjects has it.
type Listing struct {
	Truncated             bool   `xml:"-"` // there are more pages
	NextContinuationToken string // where the next one begins, by the second version
	NextMarker            string // and by the first: after a key or a common prefix, to which MinIO adds its own
	Contents              []Object
	CommonPrefixes        []string `xml:"CommonPrefixes>Prefix"`

	XMLName     xml.Name
	Name        *string
	KeyCount    *string
	IsTruncated *string
	Code        string // of an error
	Message     string
}

// Object is an object of a page. What isn't there, or can't be understood, is nil.
type Object struct {
	Key          string
	ETag         *string
	Size         *int64     `xml:"-"`
	LastModified *time.Time `xml:"-"`

	SizeText string `xml:"Size"` // as the store wrote them
	TimeText string `xml:"LastModified"`
}

// maxTags is the most of <Contents> and </Contents> in a page, so that an answer without
// end doesn't become many times its size in memory. S3 gives 1000 entries.
const maxTags = 20_000

// ParseListing parses the whole answer to a request for a page, and changes body.
func ParseListing(header http.Header, body []byte) (*Listing, error) {
	const most = 60
	begin := bytes.Clone(body[:min(len(body), most)])
	if bytes.Count(body, []byte("Contents")) > maxTags {
		return nil, fmt.Errorf("the answer has more than %d entries: a page of a listing has 1000", maxTags/2)
	}
	mend(body)
	size := len(body)
	entries, body := takePlain(body)
	d := xml.NewDecoder(bytes.NewReader(body))
	// What is asked for is ASCII but for the replica's path, whatever the encoding.
	d.CharsetReader = func(_ string, in io.Reader) (io.Reader, error) { return in, nil }
	l := &Listing{}
	if err := d.Decode(l); err != nil {
		if syntax, ok := errors.AsType[*xml.SyntaxError](err); ok && syntax.Msg == "unexpected EOF" && (l.XMLName.Local == "" || strings.HasPrefix(l.XMLName.Local, "List")) {
			return nil, brokenOff(size)
		}
		return nil, notListing(header, begin, err)
	}
	l.Contents = append(entries, l.Contents...)
	switch rest := bytes.TrimSpace(body[d.InputOffset():]); {
	case l.XMLName.Local == "Error":
		return nil, &smithy.GenericAPIError{Code: l.Code, Message: l.Message}
	case l.Name == nil && l.IsTruncated == nil && l.KeyCount == nil && len(l.Contents)+len(l.CommonPrefixes) == 0:
		return nil, notListing(header, begin, fmt.Errorf("it is <%s>", l.XMLName.Local))
	case len(rest) > 0:
		return nil, fmt.Errorf("the answer goes on after the end of the listing, with %q", rest[:min(len(rest), most)])
	}
	return l, l.understand()
}

// understand sets what is text in the document.
func (l *Listing) understand() (err error) {
	if l.IsTruncated == nil {
		l.Truncated = l.NextContinuationToken != "" || l.NextMarker != ""
	} else if l.Truncated, err = strconv.ParseBool(strings.TrimSpace(*l.IsTruncated)); err != nil {
		return fmt.Errorf("the store doesn't say whether the listing goes on: IsTruncated is %q", *l.IsTruncated)
	}
	for i := range l.Contents {
		o := &l.Contents[i]
		if size, err := strconv.ParseInt(strings.TrimSpace(o.SizeText), 10, 64); err == nil && size >= 0 {
			o.Size = &size
		}
		if t, ok := Time(o.TimeText); ok {
			o.LastModified = &t
		}
	}
	return nil
}

// BeginsBy reports whether a page's first key is one up to the one that its listing has
// reached. A common prefix may come again then.
func (l *Listing) BeginsBy(prefix, key string) bool {
	for _, o := range l.Contents {
		if IsExact(prefix, o.Key) {
			return o.Key <= key
		}
	}
	return len(l.CommonPrefixes) > 0 && l.CommonPrefixes[0] < key
}

// GreatestFile is the greatest key of a page. One that isn't exact doesn't count, since other
// keys may lie between it and the store's.
func (l *Listing) GreatestFile(prefix string) (key string) {
	for _, o := range l.Contents {
		if IsExact(prefix, o.Key) {
			key = max(key, o.Key)
		}
	}
	return key
}

// Greatest is GreatestFile, or the greatest common prefix of the page.
func (l *Listing) Greatest(prefix string) (key string) {
	key = l.GreatestFile(prefix)
	for _, common := range l.CommonPrefixes {
		if IsExact(prefix, common) {
			key = max(key, common)
		}
	}
	return key
}

// IsExact reports whether a key below a prefix is the store's. If not, it has a question
// mark in the place of what XML can't hold, or U+FFFD, which some stores put there.
func IsExact(prefix, key string) bool {
	name, ok := strings.CutPrefix(key, prefix)
	return ok && strings.IndexByte(name, '?') < 0 && !strings.Contains(name, "\uFFFD") // as ContainsAny, which is slow
}

// notListing says what came in the place of a listing.
func notListing(header http.Header, begin []byte, cause error) error {
	text := fmt.Sprintf("it begins with %q", begin)
	for _, name := range []string{"Content-Encoding", "Content-Type"} {
		if value := header.Get(name); value != "" {
			text += fmt.Sprintf(", %s %q", name, value)
		}
	}
	if !errors.Is(cause, io.EOF) { // else there is nothing like XML
		text += ": " + cause.Error()
	}
	return fmt.Errorf("the answer is not a listing: check the endpoint: %s", text)
}

// brokenOff is a document of so many bytes that doesn't come to its end. It is
// io.ErrUnexpectedEOF, as of a connection that breaks off.
type brokenOff int

func (n brokenOff) Error() string {
	return fmt.Sprintf("the listing breaks off after %d bytes", int(n))
}

func (n brokenOff) Is(target error) bool { return target == io.ErrUnexpectedEOF }

// Root is the name of the outermost element of what a store answers, in lower case, or ""
// if it is nothing like XML.
func Root(body []byte) string {
	d := xml.NewDecoder(bytes.NewReader(body))
	d.Strict = false
	d.CharsetReader = func(_ string, r io.Reader) (io.Reader, error) { return r, nil }
	for {
		token, err := d.RawToken()
		if err != nil {
			return ""
		}
		if start, ok := token.(xml.StartElement); ok {
			return strings.ToLower(start.Name.Local)
		}
	}
}
